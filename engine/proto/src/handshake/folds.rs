//! Header fields over several lines, as HTTP once allowed them (obs-fold, RFC 9112 §5.2).
//!
//! Owns: where a field goes on in the next line. Promises: linear work in place, the same length, no allocation.
//! Refuses to know: what a field says.

/// Replaces every fold of an answer's head by spaces, before [`Answer::parse`](super::Answer::parse) reads it: what a client must do
/// (RFC 9112 §5.2). The first line behind the status line goes on nothing: one that begins with a space stays as it is, which is malformed
/// (RFC 9112 §2.2). (A server refuses a request with folds, as the same section lets it.)
pub fn unfold(head: &mut [u8]) {
    let Some(status_line) = head.iter().position(|&byte| byte == b'\n') else { return };
    let mut line = status_line + 1;
    while let Some(len) = head[line..].iter().position(|&byte| byte == b'\n') {
        let end = line + len;
        if matches!(&head[line..end], [] | [b'\r']) {
            return; // the end of the head
        }
        line = end + 1;
        if matches!(head.get(line), Some(b' ' | b'\t')) {
            head[end] = b' ';
            if head[end - 1] == b'\r' {
                head[end - 1] = b' ';
            }
        }
    }
}

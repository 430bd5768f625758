//! Owns what a kernel before Linux 6.13 keeps of closed fixed files, and for how long.
//!
//! Such a kernel has a row of nodes. An operation on a fixed file belongs to the node that is last when it begins; closing a file
//! hands it to that node and puts a new one behind it. A node lets go of its file when its operations have completed **and** all
//! nodes before it are gone, in order (io_rsrc_node_ref_zero of io_uring/rsrc.c up to 6.12; axboe/liburing#1192).

use std::collections::VecDeque;

/// Names the node that an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(u64);

#[derive(Debug, Default)]
struct Node {
    operations: u32,
    /// The connection whose file goes with it; the last node has none.
    closed: Option<usize>,
}

/// The nodes of one ring.
#[derive(Debug)]
pub(super) struct Held {
    nodes: VecDeque<Node>,
    /// The number of the first.
    first: u64,
}

impl Held {
    pub(super) fn new() -> Self {
        Self { nodes: VecDeque::from([Node::default()]), first: 0 }
    }

    /// An operation on a fixed file begins.
    pub(super) fn begin(&mut self) -> NodeId {
        let last = self.nodes.back_mut().expect("there is always a last node");
        last.operations += 1;
        NodeId(self.first + self.nodes.len() as u64 - 1)
    }

    /// It has completed. Returns the connections whose files are closed by that, in order.
    #[must_use]
    pub(super) fn end(&mut self, node: NodeId) -> Vec<usize> {
        let node = &mut self.nodes[(node.0 - self.first) as usize];
        node.operations = node.operations.checked_sub(1).expect("an operation completes once");
        self.let_go()
    }

    /// The file of this connection is closed. Returns those that are closed by that; itself only if nothing holds it.
    #[must_use]
    pub(super) fn close(&mut self, pipe: usize) -> Vec<usize> {
        self.nodes.back_mut().expect("there is always a last node").closed = Some(pipe);
        self.nodes.push_back(Node::default());
        self.let_go()
    }

    fn let_go(&mut self) -> Vec<usize> {
        let mut closed = Vec::new();
        while let Some(Node { operations: 0, closed: Some(pipe) }) = self.nodes.front() {
            closed.push(*pipe);
            self.nodes.pop_front();
            self.first += 1;
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_file_waits_for_everything_that_began_before() {
        let mut held = Held::new();
        assert_eq!(held.close(1), [1], "nothing holds it");
        let rests = held.begin();
        assert_eq!(held.close(2), []);
        let later = held.begin();
        assert_eq!(held.close(3), []);
        assert_eq!(held.end(later), [], "an older operation goes on");
        assert_eq!(held.end(rests), [2, 3]);
        assert_eq!(held.close(4), [4]);
    }

    #[test]
    fn what_begins_later_does_not_hold_it() {
        let mut held = Held::new();
        let before = held.begin();
        assert_eq!(held.close(1), []);
        let after = held.begin();
        assert_eq!(held.end(before), [1]);
        assert_eq!(held.end(after), []);
    }
}

//! The header against RFC 6455 §5.2: every border of every field, and the fast reader against the careful one.

use super::*;
use proptest::prelude::*;

fn expect(role: Role) -> Expect {
    Expect {
        role,
        in_message: false,
        compression: false,
        fragment_allowed: true,
        payload_max: u64::MAX,
        packed_max: u64::MAX,
        too_big: Violation::FrameTooBig,
    }
}

/// The fault of `bytes` and how many of them it took, fed one by one; all of them at once must say the same.
fn fault(bytes: &[u8], expect: &Expect) -> Option<(Violation, usize)> {
    let first = (0..=bytes.len()).find_map(|len| parse(&bytes[..len], expect).err().map(|violation| (violation, len)));
    assert_eq!(parse(bytes, expect).err(), first.map(|(violation, _)| violation));
    first
}

// RFC 6455 §5.2, §5.4, §5.5, §5.1: each fault shows at its first byte, whatever is wrong behind it.
#[test]
fn faults_show_at_their_first_byte() {
    use Violation::*;
    let (server, client) = (expect(Role::Server), expect(Role::Client));
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(fault(&[0x83 | bit, 0x00], &server), Some((ReservedBits, 1)));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(fault(&[opcode, 0x00], &server), Some((ReservedOpcode, 1)));
    }
    for opcode in [8, 9, 10] {
        assert_eq!(fault(&[opcode, 0xFF], &server), Some((ControlFragmented, 1)));
        assert_eq!(fault(&[0x80 | opcode, 0xFE, 0, 0], &server), Some((ControlTooLong, 2)));
        assert_eq!(fault(&[0x80 | opcode, 0xFF, 0xFF], &server), Some((ControlTooLong, 2)));
        assert_eq!(fault(&[0x80 | opcode, 0xFD], &server), None);
        assert_eq!(fault(&[0x80 | opcode, 0x7F], &server), Some((Unmasked, 2)));
    }
    assert_eq!(fault(&[0x88, 0x81], &server), Some((CloseTruncated, 2)));
    assert_eq!(fault(&[0x89, 0x81], &server), None);
    assert_eq!(fault(&[0x80, 0x00], &server), Some((ContinuationWithoutStart, 1)));
    let inside = Expect { in_message: true, ..server };
    assert_eq!(fault(&[0x81, 0x00], &inside), Some((MessageInterrupted, 1)));
    assert_eq!(fault(&[0x02, 0x00], &inside), Some((MessageInterrupted, 1)));
    assert_eq!(fault(&[0x89, 0x80], &inside), None);
    assert_eq!(fault(&[0x82, 0x7F], &server), Some((Unmasked, 2)));
    assert_eq!(fault(&[0x82, 0xFF], &client), Some((Masked, 2)));
    let full = Expect { fragment_allowed: false, in_message: true, ..client };
    assert_eq!(fault(&[0x80, 0x00], &full), Some((TooManyFragments, 1)));
    assert_eq!(fault(&[0x8A, 0x00], &full), None);
}

// RFC 7692 §6: RSV1 says that a message is compressed, on its first frame, if that was negotiated. Never together with
// another reserved bit, on a fragment or on a control frame.
#[test]
fn rsv1_begins_a_compressed_message() {
    use Violation::*;
    let client = Expect { compression: true, ..expect(Role::Client) };
    let compressed = |bytes: &[u8], expect: &Expect| match parse(bytes, expect) {
        Ok(Parsed::Head(head)) => Ok(head.compressed),
        Ok(Parsed::Incomplete { .. }) => panic!("{bytes:x?} are a header"),
        Err(violation) => Err(violation),
    };
    for first in [0xC1, 0xC2, 0x41, 0x42] {
        assert_eq!(compressed(&[first, 0], &client), Ok(true));
        assert_eq!(compressed(&[first & !RSV1, 0], &client), Ok(false));
        assert_eq!(fault(&[first, 0], &expect(Role::Client)), Some((ReservedBits, 1)));
        assert_eq!(fault(&[first | 0x20, 0], &client), Some((ReservedBits, 1)));
        assert_eq!(fault(&[first | 0x10, 0], &client), Some((ReservedBits, 1)));
    }
    let inside = Expect { in_message: true, ..client };
    for first in [0xC0, 0x40, 0xC8, 0xC9, 0xCA] {
        assert_eq!(fault(&[first, 0], &client), Some((ReservedBits, 1)));
        assert_eq!(fault(&[first, 0], &inside), Some((ReservedBits, 1)));
    }
    assert_eq!(fault(&[0xC1, 0], &inside), Some((MessageInterrupted, 1)));
}

// RFC 6455 §5.2: "the minimal number of bytes MUST be used", "the most significant bit MUST be 0".
#[test]
fn lengths_are_minimal_and_of_63_bits() {
    use Violation::*;
    let client = expect(Role::Client);
    assert_eq!(fault(&[0x82, 126, 0, 125], &client), Some((LengthNotMinimal, 4)));
    assert_eq!(fault(&[0x82, 126, 0, 126], &client), None);
    let long = |len: u64| [&[0x82, 127], &len.to_be_bytes()[..]].concat();
    assert_eq!(fault(&long(0xFFFF), &client), Some((LengthNotMinimal, 8)));
    assert_eq!(fault(&long(0), &client), Some((LengthNotMinimal, 8)));
    assert_eq!(fault(&long(0x1_0000), &client), None);
    assert_eq!(fault(&long(i64::MAX as u64), &client), None);
    assert_eq!(fault(&long(1 << 63), &client), Some((LengthOver63Bits, 3)));
}

// RFC 6455 §10.4: a limit hit exactly passes, one more fails, at the first byte of length that proves it.
#[test]
fn limits_show_at_the_first_byte_that_proves_them() {
    let limited = |payload_max| Expect { payload_max, ..expect(Role::Client) };
    let too_big = Violation::FrameTooBig;
    assert_eq!(fault(&[0x82, 5], &limited(5)), None);
    assert_eq!(fault(&[0x82, 6], &limited(5)), Some((too_big, 2)));
    assert_eq!(fault(&[0x82, 126, 0x12, 0x34], &limited(0x1234)), None);
    assert_eq!(fault(&[0x82, 126, 0x12, 0x35], &limited(0x1234)), Some((too_big, 4)));
    assert_eq!(fault(&[0x82, 126, 0x13, 0x00], &limited(0x1234)), Some((too_big, 3)));
    let long = |len: u64| [&[0x82, 127], &len.to_be_bytes()[..]].concat();
    assert_eq!(fault(&long(0x100_0000), &limited(0x100_0000)), None);
    assert_eq!(fault(&long(0x100_0001), &limited(0x100_0000)), Some((too_big, 10)));
    assert_eq!(fault(&long(0x4000_0000_0000_0000), &limited(0x100_0000)), Some((too_big, 3)));
    // Control frames have a limit of their own (§5.5).
    assert_eq!(fault(&[0x89, 125], &limited(0)), None);
}

#[test]
fn headers_written_are_read_back() {
    let key = MaskKey::from_bytes([1, 2, 3, 4]);
    let borders = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 24, isize::MAX as usize];
    for payload_len in borders {
        for opcode in [Opcode::Text, Opcode::Binary, Opcode::Continuation] {
            for fin in [false, true] {
                for (role, mask) in [(Role::Server, Some(key)), (Role::Client, None)] {
                    let mut out = [0xAA; HEAD_MAX + 1];
                    let len = write(&mut out, fin, opcode, payload_len, mask);
                    assert_eq!(len, head_len(payload_len, mask.is_some()));
                    assert!(out[len..].iter().all(|&byte| byte == 0xAA));
                    let in_message = opcode == Opcode::Continuation;
                    let expect = Expect { in_message, ..expect(role) };
                    let head = Head {
                        fin,
                        opcode,
                        compressed: false,
                        payload_len: payload_len as u64,
                        key: mask.unwrap_or(MaskKey::NONE),
                        head_len: len,
                    };
                    assert_eq!(parse(&out, &expect), Ok(Parsed::Head(head)));
                    for cut in 0..len {
                        let Ok(Parsed::Incomplete { needed }) = parse(&out[..cut], &expect) else {
                            panic!("{cut} of {len} bytes are no header");
                        };
                        assert!(cut < needed && needed <= len);
                    }
                }
            }
        }
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

/// Header bytes that are often nearly right.
fn headish() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![4 => prop::sample::select(vec![0x81u8, 0x82, 0x01, 0x80, 0x89, 0x88]), 1 => any::<u8>()];
    let second = prop_oneof![prop::sample::select(vec![0u8, 1, 125, 126, 127, 128, 253, 254, 255]), any::<u8>()];
    let byte = prop_oneof![2 => Just(0u8), 1 => any::<u8>()];
    (first, second, prop::collection::vec(byte, 0..300)).prop_map(|(first, second, rest)| {
        let mut bytes = vec![first, second];
        bytes.extend(rest);
        bytes
    })
}

proptest! {
    // More bytes never change the answer, and `needed` is never beyond the header.
    #[test]
    fn a_prefix_never_contradicts(
        bytes in headish(), role in role(), in_message: bool, compression: bool, fragment_allowed: bool,
        payload_max in prop_oneof![0u64..300, any::<u64>()],
    ) {
        let too_big = Violation::MessageTooBig;
        let packed_max = payload_max.saturating_add(100);
        let expect = Expect { role, in_message, compression, fragment_allowed, payload_max, packed_max, too_big };
        let bytes = &bytes[..bytes.len().min(HEAD_MAX)];
        let shown = fault(bytes, &expect);
        if let Ok(Parsed::Head(head)) = parse(bytes, &expect) {
            prop_assert!(shown.is_none());
            for cut in 0..head.head_len {
                let needed_is_inside = matches!(
                    parse(&bytes[..cut], &expect),
                    Ok(Parsed::Incomplete { needed }) if needed > cut && needed <= head.head_len
                );
                prop_assert!(needed_is_inside);
            }
        }
    }

    // The register reader sees exactly what the careful one sees, in the case it is for.
    #[test]
    fn whole_agrees_with_parse(bytes in headish(), role in role(), payload_max in prop_oneof![0u64..300, Just(u64::MAX)]) {
        let expect = Expect { payload_max, ..expect(role) };
        let careful = match parse(&bytes, &expect) {
            Ok(Parsed::Head(head))
                if head.fin
                    && !head.opcode.is_control()
                    && head.payload_len <= 65_535
                    && head.head_len + head.payload_len as usize <= bytes.len() =>
            {
                Some((head.opcode == Opcode::Text, head.key, head.head_len, head.payload_len as usize))
            }
            _ => None,
        };
        let fast = whole(&bytes, role, payload_max)
            .map(|whole| (whole.text, whole.key, whole.head_len, whole.payload_len));
        prop_assert_eq!(fast, careful);
    }
}

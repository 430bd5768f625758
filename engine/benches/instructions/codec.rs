//! The protocol alone: a session decodes, and each message is encoded again.

use wsring_proto::{Event, Limits, Pool, Role, Session, encode};

use crate::count;
use crate::traffic::{Traffic, Words};

/// Inputs of a cell; each is decoded once, where it lies, so that nothing has to be restored while it counts.
const INPUTS: usize = 128;

const CELLS: [(&str, Traffic); 8] = [
    ("codec: 1 x text 6+125", Traffic::new(1, Words::Ascii, 125)),
    ("codec: 16 x text 6+20", Traffic::new(16, Words::Ascii, 20)),
    ("codec: 16 x text 6+125", Traffic::new(16, Words::Ascii, 125)),
    ("codec: 16 x binary 6+125", Traffic::new(16, Words::Binary, 125)),
    ("codec: 16 x text 8+1024", Traffic::new(16, Words::Ascii, 1024)),
    ("codec: 16 x text 8+1024, two bytes a letter", Traffic::new(16, Words::Letters, 1024)),
    ("codec: 16 x text 6+20 in 2 fragments", Traffic { fragments: 2, ..Traffic::new(16, Words::Ascii, 20) }),
    ("codec: 16 x text 1024 in 4 fragments", Traffic { fragments: 4, ..Traffic::new(16, Words::Ascii, 1024) }),
];

struct Connection {
    session: Session,
    limits: Limits,
    pool: Pool,
    output: Vec<u8>,
}

impl Connection {
    fn echo(&mut self, input: &mut [u8]) -> usize {
        let Self { session, limits, pool, output } = self;
        let (mut input, mut sent) = (session.input(input, limits), 0);
        loop {
            let message = match input.next_whole(pool) {
                Ok(Some((message, _))) => message,
                Ok(None) => match input.next(pool) {
                    Ok(Some(Event::Message { message, .. })) => message,
                    Ok(None) => return sent,
                    other => panic!("{other:?} from valid messages"),
                },
                Err(violation) => panic!("{violation:?} in valid messages"),
            };
            let len = encode::frame(&mut output[sent..], true, message.opcode(), message.as_bytes(), None);
            sent += len.expect("the output is as large as the input");
        }
    }
}

pub fn cells() {
    for (name, traffic) in CELLS {
        let (input, reply) = (traffic.input(), traffic.reply());
        let mut connection = Box::new(Connection {
            session: Session::new(Role::Server),
            limits: Limits::default(),
            pool: Pool::new(1 << 20),
            output: vec![0; input.len()],
        });
        // The first fills the pool.
        connection.echo(&mut input.clone());
        let mut inputs = vec![input; INPUTS];
        let mut sent = 0;
        count(name, INPUTS * traffic.messages, || {
            for input in &mut inputs {
                sent += connection.echo(input);
            }
        });
        assert_eq!(sent, INPUTS * reply.len(), "{name}");
        assert!(connection.output[..reply.len()] == reply, "{name}: the echo is another");
    }
}

//! Names that are looked up late, in virtual time: an answer belongs to the lookup that asked, and to no other.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use wsring::engine::testing::{Engine, Lookup, Remote};
use wsring::ring::sim::{Net, Outside, SimConfig, SimRing, Trace};
use wsring::{
    Answered, Config, CoreCx, Cx, DialError, Dialled, Handler, Message, Opening, Reconnect, SendBuffers, Target,
    Verdict,
};
use wsring_testkit::sim::assert_nothing_is_left;

/// Dials a name until its second attempt has failed; tells why each did.
struct Caller(Rc<RefCell<Vec<io::ErrorKind>>>);

impl Handler for Caller {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        let target = Target::new("ws://slow.example/").expect("a URL").connect_timeout(Duration::from_secs(1));
        cx.connect(target.reconnect(Reconnect::default()));
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        unreachable!("nobody connects")
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        unreachable!("no name has an address")
    }

    fn on_dial_failed(&mut self, cx: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, _: Option<Duration>) {
        let DialError::Lookup { source, .. } = why else { panic!("{why}") };
        self.0.borrow_mut().push(source.kind());
        if self.0.borrow().len() == 2 {
            cx.stop_core();
        }
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// A name server that answers the first lookup once the second has been asked for, and then that.
struct Late {
    asked: Rc<RefCell<Vec<Lookup>>>,
    remote: Remote,
    told: usize,
}

impl Outside for Late {
    fn on_event(&mut self, net: &mut Net, _: u64) {
        if self.asked.borrow().len() == 2 && self.told < 2 {
            let answer = [io::ErrorKind::ConnectionAborted, io::ErrorKind::PermissionDenied][self.told];
            self.remote.resolved(self.asked.borrow()[self.told], Err(answer.into()));
            self.told += 1;
            net.wake();
        }
        if self.told < 2 {
            net.call_after(Duration::from_millis(10), 0);
        }
    }
}

/// It was taken for the answer to the dial's next lookup, of the same name but another time: an address that is gone since.
#[test]
fn a_late_answer_is_not_the_next_lookups() {
    let (asked, failed, remote) = (Rc::default(), Rc::default(), Remote::default());
    let late = Late { asked: Rc::clone(&asked), remote: remote.clone(), told: 0 };
    let ring = SimRing::new(SimConfig::quiet(1), Trace::new(false), Box::new(late), &[0]);
    let config = Config::default().connections_max(8).send_buffers(SendBuffers { count: 16, bytes: 4096 });
    let engine = Engine::new(config, ring, Caller(Rc::clone(&failed)), 0, &remote);
    let mut engine = engine.resolver(move |_, _, lookup| asked.borrow_mut().push(lookup));
    engine.run().expect("the simulated ring does not break");
    assert_eq!(*failed.borrow(), [io::ErrorKind::TimedOut, io::ErrorKind::PermissionDenied]);
    assert_nothing_is_left(&mut engine);
}

//! Two ends that both have more to say than the sockets between them hold, on real rings: in each setting they move, or end it with
//! an error.

use std::fs;
use std::time::Duration;

use wsring::{Config, CoreCx, Cx, Handler, Message, Opening, Pressure, Verdict};

use crate::caller::{Setup, Told, target};
use crate::common::*;

const MESSAGE: usize = 1 << 20;

/// The kernel's limit on the memory of a socket, receiving or sending: the last of three numbers (tcp(7)).
fn buffer_max(name: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("Linux");
    text.split_whitespace().next_back().and_then(|most| most.parse().ok()).expect("three numbers")
}

/// Messages of 1 MiB that no two sockets hold, with what the engine itself takes ahead on either side: 20 at least.
fn backlog() -> usize {
    ((buffer_max("tcp_rmem") + buffer_max("tcp_wmem")) / MESSAGE + 8).max(20)
}

/// Says so much at the opening, and `done` when it has got as much.
struct Heavy {
    count: usize,
    says: Option<Pressure>,
}

impl Handler for Heavy {
    type Conn = usize;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<usize> {
        let verdict = Verdict::accept(0);
        match self.says {
            Some(pressure) => verdict.pressure(pressure),
            None => verdict,
        }
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        for number in 0..self.count {
            assert!(cx.send(&vec![number as u8; MESSAGE]).is_queued());
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let number = *cx.data();
        assert!(message.as_bytes().len() == MESSAGE && message.as_bytes().iter().all(|&byte| byte == number as u8));
        *cx.data() += 1;
        if *cx.data() == self.count {
            let _ = cx.send("done");
        }
    }
}

fn config(count: usize) -> Config {
    Config::default().output_max_bytes(((count + 1) * (MESSAGE + 14)) as u32)
}

#[test]
fn two_ends_with_a_backlog_move_if_one_of_them_reads_on() {
    let count = backlog();
    let (pause, on) = (Pressure::PauseReading, Pressure::ReadOn);
    // The defaults of both roles; then what the configuration, the verdict and the target say.
    let cases = [(None, None, None), (Some([on, pause]), None, None), (Some([pause; 2]), Some(on), None)];
    for (configured, verdict, dialled) in cases.into_iter().chain([(Some([pause; 2]), None, Some(on))]) {
        let mut config = config(count);
        if let Some([accepted, dialled]) = configured {
            config = config.pressure_accepted(accepted).pressure_dialled(dialled);
        }
        let (server, addr) = serve(config.clone(), 1, move |_| Heavy { count, says: verdict });
        let says: Vec<Vec<u8>> = (0..count).map(|number| vec![number as u8; MESSAGE]).collect();
        let setup = Setup { config, says: says.clone(), closes_after: count + 1, ..Setup::default() };
        let target = match dialled {
            Some(pressure) => target(addr).pressure(pressure),
            None => target(addr),
        };
        let line = setup.dial([target]);
        line.open();
        line.gets(&says);
        assert!(matches!(line.next(), Told::Text(text) if text == "done"), "{configured:?} {verdict:?} {dialled:?}");
        assert_eq!(line.closed(), "Local { clean: true }");
        line.finish();
        let stats = finish(server);
        assert_eq!((stats.messages as usize, stats.timeouts, stats.resets), (count, 0, 0));
    }
}

/// Without an idle timeout, too: one of them sees that the other takes nothing.
#[test]
fn two_ends_that_both_pause_end_with_an_error() {
    let count = backlog();
    for idle in [None, Some(Duration::from_secs(60))] {
        let config = config(count)
            .pressure_dialled(Pressure::PauseReading)
            .idle_timeout(idle)
            .send_timeout(Duration::from_millis(300));
        let (server, addr) = serve(config.clone(), 1, move |_| Heavy { count, says: None });
        let says = (0..count).map(|number| vec![number as u8; MESSAGE]).collect();
        let line = Setup { config, says, ..Setup::default() }.dial([target(addr)]);
        line.open();
        let (why, unsent) = loop {
            match line.next() {
                Told::Binary(_) => {}
                Told::Closed(why, unsent) => break (why, unsent),
                other => panic!("{other:?}"),
            }
        };
        assert!(why == "Timeout" || why.starts_with("Reset") || why == "Eof", "{why}");
        assert!(unsent > 0, "all of it went out: {why}");
        let (client, server) = (line.finish(), finish(server));
        assert!(client.timeouts + server.timeouts >= 1, "{client}\n{server}");
    }
}

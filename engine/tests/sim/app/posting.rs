//! What the application under test does with topics, in any callback; and that nobody has too much queued.

use std::time::Duration;

use wsring::{Conn, ConnId, Lagged, Pressure};

use super::super::board::Board;
use super::{App, Core};

impl App {
    /// It uses topics as well.
    pub fn and_board(mut self, board: Option<Board>) -> Self {
        self.board = board;
        self
    }

    /// A connection has missed something.
    pub(super) fn on_missed(&mut self, conn: &mut Conn<'_, App>, lagged: Lagged) {
        let open = self.open.get(&conn.id()).expect("only open connections are told");
        assert!(!open.closing, "{} is told of topics behind its Close", conn.id());
        if let Some(board) = &mut self.board {
            board.on_lagged(conn, lagged);
        }
    }

    pub(super) fn begin_topics(&mut self, cx: &mut Core<'_>) {
        if let Some(board) = &mut self.board {
            board.begin(cx, &mut self.world.ledger.borrow_mut().posts);
        }
    }

    /// Subscribes, publishes, and looks at what is counted.
    pub(super) fn act_on_topics(&mut self, cx: &mut Core<'_>) {
        let Some(mut board) = self.board.take() else { return };
        let open: Vec<ConnId> = self.open.keys().copied().collect();
        while let Some((topic, what)) = board.draws() {
            if what < 6 {
                self.publish(cx, &mut board, topic);
                continue;
            }
            let Some(id) = board.pick(&open) else { break };
            let (peer, now) = (self.open[&id].peer, self.world.trace.now());
            let Some(mut conn) = self.conn(cx, id) else { continue };
            let mut ledger = self.world.ledger.borrow_mut();
            let ledger = &mut *ledger;
            let (posts, person) = (&ledger.posts, &mut ledger.people[peer]);
            match what {
                6 | 7 => board.subscribe(&mut conn, topic, posts, person),
                8 => board.check(&mut conn, now, posts, person),
                _ => board.unsubscribe(&mut conn, topic, posts, person),
            }
        }
        if let Some(topic) = board.crowds() {
            for id in open {
                let peer = self.open[&id].peer;
                let Some(mut conn) = self.conn(cx, id) else { continue };
                let ledger = &mut *self.world.ledger.borrow_mut();
                board.join_crowd(&mut conn, topic, &ledger.posts, &mut ledger.people[peer]);
            }
            (0..12).for_each(|_| self.publish(cx, &mut board, topic));
        }
        self.board = Some(board);
    }

    /// Publishes; a subscription may say that a connection is closed then.
    fn publish(&mut self, cx: &mut Core<'_>, board: &mut Board, topic: u32) {
        let mut may_close = Vec::new();
        for (id, open) in &self.open {
            let code = board.may_close(topic, &self.world.ledger.borrow().people[open.peer]);
            if let Some(code) = code
                && self.conn(cx, *id).is_some_and(|conn| board.has(&conn, topic))
            {
                may_close.push((*id, code));
            }
        }
        let open: Vec<ConnId> = self.open.keys().copied().collect();
        let before: Vec<_> = open.iter().map(|&id| self.lag_of(cx, board, id)).collect();
        {
            let mut ledger = self.world.ledger.borrow_mut();
            let ledger = &mut *ledger;
            board.publish(cx, topic, &mut ledger.posts, &ledger.people);
        }
        for (&id, before) in open.iter().zip(before) {
            let (Some((lag, gone)), Some((lag_before, gone_before))) = (self.lag_of(cx, board, id), before) else {
                continue;
            };
            let same = lag == lag_before || gone != gone_before || lag_before.is_zero();
            assert!(same, "the age of what waits is wrong: {lag:?}, and it was {lag_before:?}");
        }
        for (id, code) in may_close {
            if self.conn(cx, id).is_some_and(|conn| board.has(&conn, topic)) {
                continue;
            }
            let mut ledger = self.world.ledger.borrow_mut();
            if let Some(open) = self.open.get_mut(&id).filter(|open| !open.closing) {
                open.closing = true;
                let person = &mut ledger.people[open.peer];
                person.app_close = Some((code.as_u16(), "too slow".to_owned()));
                person.closing_at = Some(self.world.trace.now());
            }
        }
    }

    /// Whatever peers say, and the application sends: nobody has more queued than is allowed.
    pub(super) fn check_queued(&self, cx: &mut Core<'_>) {
        for (id, open) in &self.open {
            let (queued, most) = (self.conn(cx, *id).expect("it is open").queued(), open.queued_max);
            assert!(queued <= most, "{id} has more queued than it may: {queued}, not {most}");
        }
    }

    pub(super) fn set_pressure(&mut self, cx: &mut Core<'_>, id: ConnId) {
        let pressure = self.pressures.another();
        if let Some(mut conn) = self.conn(cx, id) {
            conn.set_pressure(pressure);
        }
        if let Some(open) = self.open.get_mut(&id) {
            open.pressure = pressure;
            self.world.ledger.borrow_mut().people[open.peer].reads_on |= pressure == Pressure::ReadOn;
        }
    }

    fn lag_of(&self, cx: &mut Core<'_>, board: &Board, id: ConnId) -> Option<(Duration, u64)> {
        self.conn(cx, id).and_then(|mut conn| board.lag_of(&mut conn))
    }

    /// A connection is about to be closed.
    pub(super) fn before_closing(&mut self, cx: &mut Core<'_>, id: ConnId) {
        let Some(mut board) = self.board.take() else { return };
        if let Some(conn) = self.conn(cx, id) {
            let peer = self.open[&id].peer;
            board.on_closing(&conn, &mut self.world.ledger.borrow_mut().people[peer]);
        }
        self.board = Some(board);
    }
}

//! A simulated peer, client of the engine or server that it dialled: follows its script, answers as RFC 6455 asks, and writes
//! down what it sent and saw.

use std::net::SocketAddr;
use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::{Net, PipeId, Random, Read, SimConfig, Written};
use wsring::{CloseCode, Limits};
use wsring_proto::handshake::accept_key;
use wsring_proto::{Event, Message, Opcode, Pool, Role, Session, encode};

use super::channel::Channel;
use super::dial::BEAT;
use super::oracle::{Digest, Ending, Person};
use super::reply::{Asked, Reply};
use super::script::{KEY, Opening, Script, Step, key};
use super::wire::{Said, Wire};
use super::{Manners, Settings, World, packed};

/// How long a connection may stand still that has something to do.
const STILL_MAX: Duration = Duration::from_millis(2_500);
/// From a server's goodbye to its client's, over TLS.
const GOODBYE: Duration = Duration::from_millis(2);

pub struct Peer {
    number: usize,
    script: Script,
    random: Random,
    world: World,
    listeners: u32,
    channel: Option<Channel>,
    /// The address it serves at, if it is a server, and how it answers.
    serves: Option<(SocketAddr, Reply)>,
    done: bool,
    /// To be sent, from `out_at` on.
    out: Vec<u8>,
    out_at: usize,
    head_left: usize,
    next_step: usize,
    /// Nothing more is put into `out`.
    out_ended: bool,
    /// From here on it only answers.
    silent: bool,
    /// `out` goes in pieces of this size, with a pause behind each.
    pace: Option<(usize, Duration)>,
    /// The stream ends when `out` is sent.
    fin: bool,
    write_at: Time,
    read_at: Time,
    read_bytes: usize,
    timer: Option<Time>,
    /// When it answers the goodbye of TLS.
    goodbye_at: Option<Time>,
    /// It blocks in writing, has written, and reads before it writes again.
    reads_next: bool,
    /// Bytes of the engine's head so far, request or response; `None` once it is complete.
    head: Option<Vec<u8>>,
    open: bool,
    session: Session,
    pool: Pool,
    wire: Wire,
    said: Vec<Said>,
}

impl Peer {
    pub fn new(number: usize, random: &mut Random, sim: &SimConfig, settings: &Settings, world: &World) -> Self {
        let mut random = random.fork();
        let own = settings.owners.to_client(number);
        let script = Script::new(number, &mut random, sim, &settings.with(own.as_ref()), world.manners, false);
        let mut statuses = match script.opening {
            Opening::Valid => vec![101, 403],
            Opening::Refused(status) => vec![status],
            Opening::Never => vec![],
        };
        if world.manners == Manners::Rude {
            statuses.extend([503, 408]); // the connection cap; its deadline, which `judge_person` compares
            if world.panics && script.opening == Opening::Refused(404) {
                statuses.push(500); // nobody knows whose plain request it is
            }
            if script.head.len() > settings.head_bytes_max {
                statuses.push(431);
            }
        }
        let person = &mut world.ledger.borrow_mut().people[number];
        (person.statuses, person.own) = (statuses, own);
        Self::with(number, random, script, sim, world, None)
    }

    /// The server at `addr`, which the engine has just connected to.
    pub fn serve(
        number: usize,
        (addr, pipe): (SocketAddr, PipeId),
        random: &mut Random,
        sim: &SimConfig,
        settings: &Settings,
        world: &World,
    ) -> Self {
        let mut random = random.fork();
        let own = settings.owners.to_dialled();
        let script = Script::new(number, &mut random, sim, &settings.with(own.as_ref()), world.manners, true);
        let reply = Reply::new(&mut random, world.manners);
        world.ledger.borrow_mut().people.push(Person { serves: true, own, ..Person::default() });
        let mut server = Self::with(number, random, script, sim, world, Some((addr, reply)));
        server.channel = Some(Channel::new(pipe, None));
        server
    }

    fn with(
        number: usize,
        random: Random,
        script: Script,
        sim: &SimConfig,
        world: &World,
        serves: Option<(SocketAddr, Reply)>,
    ) -> Self {
        let role = if serves.is_some() { Role::Server } else { Role::Client };
        Self {
            number,
            random,
            world: world.clone(),
            listeners: sim.listeners,
            channel: None,
            done: false,
            out: script.head.clone(),
            out_at: 0,
            head_left: script.head.len(),
            next_step: 0,
            out_ended: false,
            silent: false,
            pace: None,
            fin: false,
            write_at: Time::default(),
            read_at: Time::default(),
            read_bytes: 0,
            timer: None,
            goodbye_at: None,
            reads_next: false,
            head: Some(Vec::new()),
            open: false,
            session: Session::new(role),
            pool: Pool::new(1 << 20),
            wire: Wire::new(serves.is_some()),
            said: Vec::new(),
            script,
            serves,
        }
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

    /// A connection with something left to do does it: nobody stalls longer than a pause, a retry or a slow kernel.
    pub fn check_moving(&self, net: &Net) {
        let pipe = self.channel.as_ref().map(Channel::pipe);
        let Some(pipe) = pipe.filter(|_| !self.done && !self.silent && self.script.opening == Opening::Valid) else {
            return;
        };
        // Half a message may drip more slowly than that: how long it has is judged by itself.
        if self.person(|person| person.stalls_at.is_some()) {
            return;
        }
        let still = net.still_for(pipe);
        assert!(still < STILL_MAX, "peer {} is stuck: nothing has moved for {still:?}", self.number);
    }

    fn key(&self) -> u64 {
        self.number as u64 + 1
    }

    fn person<R>(&self, write: impl FnOnce(&mut Person) -> R) -> R {
        write(&mut self.world.ledger.borrow_mut().people[self.number])
    }

    fn say(&self, what: &str) {
        self.world.trace.note(&[100, self.key()], || format!("                  peer {} {what}", self.number));
    }

    fn call_at(&mut self, net: &mut Net, at: Time) {
        if self.timer.is_none_or(|timer| at < timer) {
            self.timer = Some(at);
            net.call_after(at.since(net.now()), self.key());
        }
    }

    pub fn on_event(&mut self, net: &mut Net) {
        if self.timer.is_some_and(|timer| timer <= net.now()) {
            self.timer = None;
        }
        if self.done {
            let pipe = self.channel.as_ref().map(Channel::pipe);
            let unheard = pipe.and_then(|pipe| net.unheard_after(pipe));
            let abort = pipe.and_then(|pipe| net.abort_of(pipe));
            return self.person(|person| (person.unheard_after, person.abort) = (unheard, abort));
        }
        if self.channel.is_none() {
            let start = self.world.start.plus(self.script.start);
            if net.now() < start {
                return self.call_at(net, start);
            }
            let Some(pipe) = net.connect(self.number as u32 % self.listeners, self.key()) else {
                self.say("is refused");
                self.person(|person| person.refused = true);
                self.done = true;
                return;
            };
            self.channel = Some(Channel::new(pipe, self.world.tls.as_ref()));
            self.person(|person| person.connected_at = net.now());
            self.say("connects");
        }
        loop {
            self.write(net);
            self.read(net);
            self.write(net); // what it answers
            if !self.reads_next || self.is_blocked() {
                break;
            }
        }
        self.say_goodbye(net);
    }

    /// It does nothing else before its own bytes are taken.
    fn is_blocked(&self) -> bool {
        self.script.reading.blocks && self.open && self.out_at < self.out.len()
    }

    /// RFC 8446 §6.1: it is told goodbye in TLS, and says so a while later.
    fn say_goodbye(&mut self, net: &mut Net) {
        let done = self.done;
        let Some(channel) = self.channel.as_mut().filter(|_| !done) else { return };
        if !channel.owes_goodbye() {
            return;
        }
        let at = *self.goodbye_at.get_or_insert(net.now().plus(GOODBYE));
        if net.now() < at {
            return self.call_at(net, at);
        }
        if let Some(channel) = &mut self.channel {
            channel.say_goodbye(net);
        }
    }

    fn end(&mut self, net: &mut Net, what: &str) {
        let channel = self.channel.as_mut().expect("it was connected");
        let (pipe, goodbye, is_sealed) = (channel.pipe(), channel.has_goodbye(), channel.is_sealed());
        self.say(what);
        self.done = true;
        let (faulted, now) = (net.is_faulted(pipe), net.now());
        let (neglected_at, abort) = (net.neglected_at(pipe), net.abort_of(pipe));
        let shut_out_at = net.shut_out_at(pipe);
        // Over TLS the bytes of the wire are others.
        let behind_ping = self.wire.behind_ping.filter(|_| !is_sealed);
        let pinged_at = behind_ping.and_then(|behind| net.taken_at(pipe, behind));
        self.person(|person| {
            person.abort = abort;
            person.faulted = faulted;
            (person.neglected_at, person.shut_out_at, person.pinged_at) = (neglected_at, shut_out_at, pinged_at);
            match what {
                "sees the end" => person.eof_at = Some(now),
                _ => person.reset = true,
            }
        });
        if what == "sees the end" {
            assert!(self.wire.is_between_frames() || faulted || self.cut_off(), "a frame was cut in two");
            assert!(goodbye || faulted || self.cut_off(), "the stream ended without a close_notify");
            net.close(pipe);
        }
    }

    /// The server may have given up on it in the middle of a frame: it was slow, or the server stopped.
    fn cut_off(&self) -> bool {
        self.world.manners == Manners::Rude
    }

    // ---- what it sends ----

    fn write(&mut self, net: &mut Net) {
        let Some(channel) = self.channel.as_mut().filter(|_| !self.done) else { return };
        channel.flush(net);
        while !self.done && !self.reads_next {
            if net.now() < self.write_at {
                return self.call_at(net, self.write_at);
            }
            if self.out_at < self.out.len() {
                let mut to = self.out.len();
                if let Some((piece, pause)) = self.script.drip.filter(|_| self.head_left > 0) {
                    to = to.min(self.out_at + piece.min(self.head_left));
                    self.write_at = net.now().plus(pause);
                }
                if let Some((piece, pause)) = self.pace {
                    to = to.min(self.out_at + piece);
                    self.write_at = net.now().plus(pause);
                }
                let Some(channel) = &mut self.channel else { return };
                match channel.write(net, &self.out[self.out_at..to]) {
                    Written::Bytes(0) => return, // called again when there is room
                    Written::Bytes(count) => {
                        self.out_at += count;
                        self.person(|person| {
                            person.spoke_at = person.spoke_at.or(Some(net.now()));
                            person.written += count;
                        });
                        if self.head_left > 0 && self.head_left <= count {
                            self.person(|person| person.answered_at = Some(net.now()));
                        }
                        self.head_left = self.head_left.saturating_sub(count);
                    }
                    Written::Reset => {
                        self.script.reading.blocks = false; // nothing blocks it any more
                        return; // what can still be read is read first
                    }
                }
                continue;
            }
            let wrote = !self.out.is_empty();
            self.out.clear();
            self.out_at = 0;
            self.pace = None;
            if wrote && self.script.reading.blocks && self.open {
                self.reads_next = true;
                return;
            }
            if self.fin {
                self.fin = false;
                self.say("ends its stream");
                let goodbye = self.number.is_multiple_of(2);
                if let Some(channel) = &mut self.channel {
                    channel.finish(net, goodbye);
                }
                return;
            }
            if self.out_ended || self.silent || !(self.open || self.script.pipelined && self.serves.is_none()) {
                return;
            }
            self.step(net);
        }
    }

    fn step(&mut self, net: &mut Net) {
        let step = self.script.steps.get(self.next_step).cloned().unwrap_or(Step::Silence);
        self.next_step += 1;
        match step {
            Step::Frames(bytes, messages, pings) => {
                self.out = bytes;
                self.person(|person| {
                    person.sent.extend(messages);
                    person.pings.extend(pings);
                });
            }
            Step::Slow(bytes, messages, piece, pause) => {
                (self.out, self.pace) = (bytes, Some((piece, pause)));
                self.person(|person| person.sent.extend(messages));
            }
            Step::Stall(bytes, drip) => {
                self.say("begins a message, and does not end it");
                (self.out, self.pace) = (bytes, drip.map(|pause| (1, pause)));
                self.person(|person| person.stalls_at = Some(net.now()));
            }
            Step::Violation(bytes) => {
                self.say("breaks the protocol");
                self.out = bytes;
                self.end_out(Ending::Violation);
            }
            Step::Cut(bytes) => {
                self.out = bytes;
                self.fin = true;
                self.end_out(Ending::Fin);
            }
            Step::Pause(pause) => self.write_at = net.now().plus(pause),
            Step::Close(code, reason) => {
                self.say("closes");
                let reason = String::from_utf8(reason).expect("made as text");
                self.close(code, &reason);
                self.end_out(Ending::Close(code, reason));
            }
            Step::Fin => {
                self.fin = true;
                self.end_out(Ending::Fin);
            }
            Step::Reset => {
                self.end_out(Ending::Reset);
                net.reset(self.channel.as_ref().expect("connected").pipe());
                self.end(net, "resets");
            }
            Step::Silence => self.silent = true,
        }
    }

    fn end_out(&mut self, ending: Ending) {
        self.out_ended = true;
        self.person(|person| person.ending = Some(ending));
    }

    fn close(&mut self, code: Option<u16>, reason: &str) {
        let code = code.map(|code| CloseCode::new(code).expect("a code that may be sent"));
        let mut frame = [0; 140];
        let len = encode::close_frame(&mut frame, code, reason, key(&mut self.random, self.serves.is_some()));
        self.out.extend_from_slice(&frame[..len.expect("140 bytes hold it")]);
    }

    // ---- what it reads ----

    fn read(&mut self, net: &mut Net) {
        let mut bytes = Vec::new();
        if self.is_blocked() {
            return;
        }
        self.reads_next = false;
        while !self.done {
            if net.now() < self.read_at {
                return self.call_at(net, self.read_at);
            }
            bytes.clear();
            let Some(channel) = &mut self.channel else { return };
            match channel.read(net, self.script.reading.piece, &mut bytes) {
                Read::Nothing => return,
                Read::Eof => {
                    let unsaid = channel.owes_goodbye() && self.goodbye_at.is_none_or(|at| net.now() < at);
                    let polite = self.world.manners == Manners::Quiet;
                    assert!(!(unsaid && polite), "a close_notify would meet a reset: the socket is closed before it");
                    return self.end(net, "sees the end");
                }
                Read::Reset => return self.end(net, "is reset"),
                Read::Bytes(count) => {
                    self.read_bytes += count;
                    self.read_at = net.now().plus(self.script.reading.pause);
                    if let Some((after, pause)) = self.script.reading.stall.filter(|stall| self.read_bytes > stall.0) {
                        let _ = after;
                        self.script.reading.stall = None;
                        self.read_at = net.now().plus(pause);
                        self.person(|person| person.stalled |= person.request_at.is_none());
                    }
                }
            }
            self.on_bytes(&mut bytes, net.now());
        }
    }

    fn on_bytes(&mut self, bytes: &mut Vec<u8>, now: Time) {
        if bytes.is_empty() {
            return; // a part of a record, or TLS's own
        }
        if let Some(mut head) = self.head.take() {
            head.append(bytes);
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
                self.head = Some(head);
                return;
            };
            *bytes = head.split_off(end + 4);
            let head = std::str::from_utf8(&head).expect("a head is ASCII");
            match self.serves.clone() {
                None => self.on_head(head),
                Some((addr, reply)) => {
                    assert!(bytes.is_empty(), "a client sends nothing behind its request (RFC 6455 §4.1)");
                    self.on_request(head, addr, reply, now);
                }
            }
        }
        if self.open {
            self.on_frames(bytes, now);
        }
    }

    /// RFC 6455 §4.1: what a client checks before it opens.
    fn on_head(&mut self, head: &str) {
        let status: u16 = head[9..12].parse().expect("a status line");
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        self.person(|person| person.status = Some(status));
        self.say(&format!("is answered {status}"));
        if status != 101 {
            self.script.pipelined = false;
            return;
        }
        let accept = accept_key(KEY.as_bytes().first_chunk().expect("24 characters"));
        let accept = std::str::from_utf8(&accept).expect("base64");
        let has = |name: &str, value: &str| {
            head.lines()
                .filter_map(|line| line.split_once(": "))
                .any(|(n, v)| n.eq_ignore_ascii_case(name) && v == value)
        };
        assert!(has("Sec-WebSocket-Accept", accept), "{head}");
        assert!(has("Upgrade", "websocket") && has("Connection", "Upgrade"), "{head}");
        let agreed = packed::agreed(head);
        assert_eq!(agreed.is_some(), self.script.offer.is_some(), "an extension is taken if it was offered: {head}");
        if let Some(agreed) = agreed {
            self.session = Session::with_deflate(Role::Client, &agreed);
            self.wire.inflate = Some(packed::Inflate::new(!agreed.server_no_context_takeover));
        }
        self.open = true;
    }

    /// A server that is asked answers as it pleases.
    fn on_request(&mut self, head: &str, addr: SocketAddr, reply: Reply, now: Time) {
        let Asked { tag, version, accept, offered } = Asked::read(head, addr);
        let chosen = (!offered.is_empty() && self.random.chance(700)).then(|| self.random.pick(&offered));
        self.say(&format!("is asked by dial {tag} for {version} and answers {reply:?}"));
        self.person(|person| {
            (person.dial, person.version) = (Some(tag), version);
            person.request_at = Some(now);
            person.reply = Some(reply.clone());
        });
        self.out = reply.write(&accept, chosen, self.number, &mut self.random);
        self.head_left = self.out.len();
        match reply {
            Reply::Valid { .. } => self.open = true,
            Reply::Reset => (self.open, self.script.steps) = (true, vec![Step::Reset]),
            Reply::Cut => (self.open, self.script.steps) = (true, vec![Step::Fin]),
            // Often nothing but what it has said tells where it ends.
            Reply::Declined { framing, .. } if self.random.chance(if framing < 2 { 300 } else { 700 }) => {
                (self.open, self.script.steps) = (true, vec![Step::Fin]);
            }
            Reply::Declined { .. } | Reply::Wrong(_) | Reply::Never => self.silent = true,
        }
    }

    fn on_frames(&mut self, bytes: &mut [u8], now: Time) {
        let before = self.said.len();
        self.wire.feed(bytes, &mut self.said);
        // The crate's own client must read the same out of the same bytes.
        let mut agreed = before;
        let limits = Limits::default().frame_max_bytes(1 << 30).message_max_bytes(1 << 30).fragments_max(1);
        let mut input = self.session.input(bytes, &limits);
        loop {
            let event = match input.next(&mut self.pool).expect("the engine breaks no rule") {
                None => break,
                Some(Event::Message { message: Message::Text(text), .. }) => Said::text(text),
                Some(Event::Message { message, .. }) => Said::Message(Digest::of(false, message.as_bytes())),
                Some(Event::Ping(payload)) => Said::Ping(payload.to_vec()),
                Some(Event::Pong(payload)) => Said::Pong(Digest::of(false, payload)),
                Some(Event::Close { code, reason }) => Said::Close(code.map(CloseCode::as_u16), reason.to_owned()),
                Some(event) => panic!("an event that peers do not know: {event:?}"),
            };
            assert_eq!(Some(&event), self.said.get(agreed), "the two decoders disagree");
            agreed += 1;
        }
        assert_eq!(agreed, self.said.len(), "one decoder saw more than the other");
        for said in std::mem::take(&mut self.said) {
            self.on_said(said, now);
        }
    }

    fn on_said(&mut self, said: Said, now: Time) {
        match said {
            Said::Message(digest) if digest == Digest::of(true, BEAT.as_bytes()) => {
                self.person(|person| person.beats += 1)
            }
            Said::Message(digest) => self.person(|person| person.received.push(digest)),
            Said::Update(line) => self.person(|person| person.on_update(line, now)),
            Said::Pong(payload) => self.person(|person| person.pongs.push(payload)),
            Said::Ping(payload) => {
                if self.script.answers_ping && !self.out_ended {
                    self.say("pongs");
                    encode::append_frame(
                        &mut self.out,
                        true,
                        Opcode::Pong,
                        &payload,
                        key(&mut self.random, self.serves.is_some()),
                    );
                    self.hurry(now);
                }
            }
            Said::Close(code, reason) => {
                self.say("is told to close");
                let ours = self.out_ended;
                self.person(|person| person.close = Some((code, reason)));
                if !ours && self.script.answers_close {
                    self.person(|person| person.answered = true);
                    self.close(code, ""); // RFC 6455 §5.5.1
                    self.hurry(now);
                }
                self.out_ended = true;
                // RFC 6455 §7.1.1: the server closes the TCP connection, when both have said Close.
                let both = ours || self.script.answers_close;
                if self.serves.is_some() && both && !self.script.lingers {
                    self.fin = !matches!(self.person(|person| person.ending.clone()), Some(Ending::Fin));
                }
            }
        }
    }

    /// An answer does not wait for the pause between two steps. In the middle of what goes in pieces it waits behind them: a byte for each
    /// ping would be a drip as fast as it has to be.
    fn hurry(&mut self, now: Time) {
        if self.pace.is_none() {
            self.write_at = self.write_at.min(now);
        }
    }
}

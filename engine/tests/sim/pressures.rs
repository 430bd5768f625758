//! What the application says of pressure: in the configuration, when a connection opens, and while it is open.

use wsring::ring::sim::Random;
use wsring::{Config, Pressure};

use super::Manners;

/// Its choices, drawn apart from everything else.
#[derive(Clone, Debug)]
pub struct Pressures {
    random: Random,
    /// By whether it was dialled.
    configured: [Pressure; 2],
    rude: bool,
}

impl Pressures {
    pub fn new(seed: u64, manners: Manners) -> Self {
        let mut random = Random::new(seed ^ 0x7072_6573_7375);
        let rude = manners == Manners::Rude;
        let configured = match rude {
            true => [0; 2].map(|_| any(&mut random)),
            false => [Pressure::PauseReading, Pressure::ReadOn],
        };
        Self { random, configured, rude }
    }

    pub fn configure(&self, config: Config) -> Config {
        config.pressure_accepted(self.configured[0]).pressure_dialled(self.configured[1])
    }

    /// What the verdict or the target says, if anything.
    pub fn opening(&mut self) -> Option<Pressure> {
        (self.rude && self.random.chance(300)).then(|| any(&mut self.random))
    }

    /// What then holds.
    pub fn of(&self, opening: Option<Pressure>, dialled: bool) -> Pressure {
        opening.unwrap_or(self.configured[usize::from(dialled)])
    }

    /// What is said on an open connection.
    pub fn another(&mut self) -> Pressure {
        any(&mut self.random)
    }
}

fn any(random: &mut Random) -> Pressure {
    random.pick(&[Pressure::PauseReading, Pressure::ReadOn])
}

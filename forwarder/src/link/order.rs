//! Who is asked first: by priority, then by weight and chance, as RFC 2782 has it.

use super::backoff::Random;
use crate::config::network::Server;

/// Brings servers into the order in which they are tried: the lower priority first; among those of one, each
/// has its weight's share of the first place, and so on for the next ones. One of weight 0 has a small
/// chance.
pub(super) fn arrange(servers: &mut [Server], random: &mut Random) {
    // Those of weight 0 stand in front of their priority, each as likely as the other.
    random.shuffle(servers);
    servers.sort_by_key(|server| (server.priority, server.weight != 0));
    for begin in 0..servers.len() {
        let rest = &mut servers[begin..];
        let priority = rest[0].priority;
        let alike = rest.partition_point(|server| server.priority == priority);
        let total: u64 = weights(&rest[..alike]).sum();
        let drawn = (random.fraction() * (total + 1) as f64) as u64;
        let mut sum = 0;
        let chosen = weights(&rest[..alike]).position(|weight| {
            sum += weight;
            sum >= drawn
        });
        // The others keep their order, so that those of weight 0 stay in front.
        rest[..=chosen.unwrap_or(0)].rotate_right(1);
    }
}

fn weights(servers: &[Server]) -> impl Iterator<Item = u64> {
    servers.iter().map(|server| u64::from(server.weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16, priority: u16, weight: u16) -> Server {
        Server {
            host: "a".to_owned(),
            port,
            priority,
            weight,
        }
    }

    #[test]
    fn priorities_come_first_and_weights_decide_among_equals() {
        let list = [
            server(1, 20, 0),
            server(2, 10, 3),
            server(3, 10, 1),
            server(4, 10, 0),
            server(5, 0, 0),
            server(6, 0, 0),
        ];
        let mut random = Random::new();
        let (mut second, mut third, mut first) = (0, 0, 0);
        for _ in 0..10_000 {
            let mut servers = list.to_vec();
            arrange(&mut servers, &mut random);
            let priorities: Vec<_> = servers.iter().map(|server| server.priority).collect();
            assert_eq!(priorities, [0, 0, 10, 10, 10, 20]);
            first += u32::from(servers[0].port == 5);
            second += u32::from(servers[2].port == 2);
            third += u32::from(servers[2].port == 3);
        }
        // Three, one and (about) one in five.
        assert!((4500..5500).contains(&first), "{first}");
        assert!((5500..6500).contains(&second), "{second}");
        assert!((1600..2400).contains(&third), "{third}");
    }
}

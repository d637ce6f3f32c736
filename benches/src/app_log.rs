//! Lines as applications write them: logfmt, Java layouts, JSON.
//!
//! Seeded like [`access_log`](crate::access_log). The logfmt, logback, Spring Boot and JSON lines
//! are such as no pattern for a server's log matches, though they hold what those patterns look
//! for (timestamps, addresses, paths, levels): the usual fate of a line in a filter with many
//! patterns. The log4j lines are those that nearly every guide writes a pattern for.

use crate::random::Random;

const PATHS: &[&str] = &[
    "/api/v1/orders",
    "/api/v1/orders/checkout",
    "/api/v2/users/42/cart",
    "/healthz",
    "/search",
    "/internal/metrics",
];
const METHODS: &[(&str, u64)] = &[("GET", 80), ("POST", 15), ("DELETE", 5)];
const LEVELS: &[(&str, u64)] = &[("info", 70), ("debug", 15), ("warn", 10), ("error", 5)];
const JAVA_LEVELS: &[(&str, u64)] = &[("INFO ", 70), ("DEBUG", 15), ("WARN ", 10), ("ERROR", 5)];
const CALLERS: &[&str] = &[
    "handler.go:118",
    "pool/worker.go:77",
    "server.go:2054",
    "store/postgres.go:301",
];
const MESSAGES: &[&str] = &[
    "request served",
    "cache miss, reading from the store",
    "retrying after a timeout",
    "connection closed by peer",
    "order accepted",
];
const CLASSES: &[&str] = &[
    "com.example.shop.order.OrderService",
    "com.example.shop.http.AccessFilter",
    "org.hibernate.engine.jdbc.spi.SqlExceptionHelper",
    "org.apache.kafka.clients.consumer.internals.ConsumerCoordinator",
];
const SHORT_CLASSES: &[&str] = &[
    "c.e.shop.order.OrderService",
    "o.a.k.c.c.i.ConsumerCoordinator",
    "o.h.e.jdbc.spi.SqlExceptionHelper",
];
const JAVA_MESSAGES: &[&str] = &[
    "Order accepted, total=129.90 EUR, items=3",
    "HikariPool-1 - Connection is not available, request timed out after 30000ms.",
    "[Consumer clientId=shop-1, groupId=shop] Successfully joined group with generation 118",
    "Resolved [org.springframework.web.HttpMediaTypeNotAcceptableException]",
    "SQL Error: 0, SQLState: 40001 (could not serialize access, retrying)",
];

/// A source of lines.
#[derive(Clone, Debug)]
pub struct AppLog {
    random: Random,
}

impl AppLog {
    /// A source whose lines depend on nothing but the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
        }
    }

    /// A line of a Go service, `key=value` after `key=value`: about 150 bytes.
    pub fn logfmt(&mut self) -> String {
        let (time, random) = (self.time(), &mut self.random);
        format!(
            "ts=2026-03-06T{time}.{:03}Z level={} caller={} msg=\"{}\" method={} path={} \
             status={} took={}.{:02}ms client=10.{}.{}.{}",
            random.below(1_000),
            random.weighted(LEVELS),
            random.one_of(CALLERS),
            random.one_of(MESSAGES),
            random.weighted(METHODS),
            random.one_of(PATHS),
            random.weighted(&[("200", 90), ("404", 6), ("503", 4)]),
            random.below(300),
            random.below(100),
            random.below(256),
            random.below(256),
            1 + random.below(254),
        )
    }

    /// A line of a Java service: logback's default layout, Spring Boot's, or one JSON object,
    /// in turn by chance.
    pub fn java(&mut self) -> String {
        let (time, random) = (self.time(), &mut self.random);
        let milliseconds = random.below(1_000);
        match random.below(3) {
            0 => format!(
                "{time}.{milliseconds:03} [http-nio-8080-exec-{}] {} {} - {}",
                1 + random.below(200),
                random.weighted(JAVA_LEVELS),
                random.one_of(CLASSES),
                random.one_of(JAVA_MESSAGES),
            ),
            1 => format!(
                "2026-03-06T{time}.{milliseconds:03}Z  {} {} --- [shop] [nio-8080-exec-{}] {:<40} : {}",
                random.weighted(JAVA_LEVELS),
                1_000 + random.below(60_000),
                1 + random.below(200),
                random.one_of(SHORT_CLASSES),
                random.one_of(JAVA_MESSAGES),
            ),
            _ => format!(
                "{{\"@timestamp\":\"2026-03-06T{time}.{milliseconds:03}Z\",\"log.level\":\"{}\",\
                 \"message\":\"{}\",\"service.name\":\"shop\",\"process.thread.name\":\
                 \"http-nio-8080-exec-{}\",\"log.logger\":\"{}\"}}",
                random.weighted(JAVA_LEVELS).trim_end(),
                random.one_of(JAVA_MESSAGES),
                1 + random.below(200),
                random.one_of(CLASSES),
            ),
        }
    }

    /// A line in the layout of most log4j configurations: date, level, the rest.
    pub fn log4j(&mut self) -> String {
        let (time, random) = (self.time(), &mut self.random);
        format!(
            "2026-03-06 {time},{:03} {} [http-nio-8080-exec-{}] {}: {}",
            random.below(1_000),
            random.weighted(JAVA_LEVELS),
            1 + random.below(200),
            random.one_of(CLASSES),
            random.one_of(JAVA_MESSAGES),
        )
    }

    fn time(&mut self) -> String {
        let second = self.random.below(86_400);
        format!(
            "{:02}:{:02}:{:02}",
            second / 3_600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_lines() {
        let (mut left, mut right, mut other) = (AppLog::new(7), AppLog::new(7), AppLog::new(8));
        for _ in 0..100 {
            assert_eq!(left.logfmt(), right.logfmt());
            assert_eq!(left.java(), right.java());
            assert_eq!(left.log4j(), right.log4j());
        }
        assert_ne!(left.logfmt(), other.logfmt());
    }

    #[test]
    fn lines_are_of_the_usual_length() {
        let mut log = AppLog::new(7);
        for (name, line) in [
            ("logfmt", AppLog::logfmt as fn(&mut AppLog) -> String),
            ("java", AppLog::java),
            ("log4j", AppLog::log4j),
        ] {
            let bytes: usize = (0..1_000).map(|_| line(&mut log).len()).sum();
            let mean = bytes / 1_000;
            assert!((130..230).contains(&mean), "{name}: {mean} bytes a line");
        }
    }
}

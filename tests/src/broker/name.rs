//! Names that the broker makes up: `amq.gen-..` for queues, `amq.ctag-..` for consumers.
//!
//! They look like RabbitMQ's, 128 bits in base64, but follow from a counter: the same conversation gives the same names.

use amqp_core::wire::ShortString;

/// Makes names, no two of them alike.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    made: u64,
}

impl Names {
    /// The name of a queue that was declared without one.
    pub(super) fn queue(&mut self) -> ShortString {
        self.next("amq.gen-")
    }

    /// The tag of a consumer that was given none.
    pub(super) fn consumer_tag(&mut self) -> ShortString {
        self.next("amq.ctag-")
    }

    /// The secret part of a direct reply-to address.
    pub(super) fn reply_address(&mut self) -> ShortString {
        self.next("amq.rabbitmq.reply-to.")
    }

    fn next(&mut self, prefix: &str) -> ShortString {
        self.made += 1;
        let high = scramble(self.made);
        let low = scramble(high);
        let mut name = prefix.to_owned();
        push_base64(&mut name, (u128::from(high) << 64) | u128::from(low));
        name.into()
    }
}

/// One step of SplitMix64: consecutive numbers give numbers that do not look it.
fn scramble(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// 128 bits as 22 characters of the URL-safe alphabet, unpadded.
fn push_base64(out: &mut String, bits: u128) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for place in 0..22_u32 {
        // 22 times 6 is 132: the last character holds two bits, with four zeros behind them.
        let shift = 122_i32 - 6 * i32::try_from(place).unwrap_or(0);
        let six = if shift >= 0 { bits >> shift } else { bits << -shift };
        out.push(char::from(ALPHABET[usize::try_from(six & 63).unwrap_or(0)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_look_like_rabbitmqs_and_repeat() {
        let mut names = Names::default();
        let (first, second) = (names.queue(), names.queue());
        assert_eq!((first.len(), second.len()), ("amq.gen-MGMs18dyMPVAhoPTPbu7cQ".len(), first.len()));
        assert_ne!(first, second);
        assert_eq!(Names::default().queue(), first);
    }
}

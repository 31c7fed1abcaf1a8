//! Numbers of credit cards: by their length, their first digits and their check digit.
//! <https://en.wikipedia.org/wiki/Payment_card_number>

/// First digits of a scheme, as a range, with the lengths that its numbers have.
const SCHEMES: [(u32, u32, &[usize]); 12] = [
    (4, 4, &[13, 16, 19]),
    (51, 55, &[16]),
    (2221, 2720, &[16]),
    (34, 34, &[15]),
    (37, 37, &[15]),
    (300, 305, &[14]),
    (36, 36, &[14]),
    (38, 39, &[14]),
    (3528, 3589, &[16]),
    (6011, 6011, &[16, 19]),
    (644, 659, &[16, 19]),
    (62, 62, &[16, 17, 18, 19]),
];

/// Whether a text is the number of a card and nothing else; spaces and dashes may stand between digits. `luhn`: its check
/// digit has to be right.
pub(crate) fn is_card(text: &str, luhn: bool) -> bool {
    if !(13..=31).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit() || b" -".contains(&b)) {
        return false;
    }
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let begins = |low: u32, high: u32| {
        let first = digits.iter().take(low.to_string().len()).fold(0, |sum, digit| sum * 10 + digit);
        (low..=high).contains(&first)
    };
    let is_known =
        SCHEMES.iter().any(|(low, high, lengths)| lengths.contains(&digits.len()) && begins(*low, *high));
    is_known && (!luhn || has_check_digit(&digits))
}

/// The last digit makes the sum a multiple of ten when every second digit from the right counts double.
fn has_check_digit(digits: &[u32]) -> bool {
    let worth = |(at, digit): (usize, &u32)| match at % 2 {
        0 => *digit,
        _ => digit * 2 / 10 + digit * 2 % 10,
    };
    digits.iter().rev().enumerate().map(worth).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards() {
        let check = |text: &str, want: bool| assert_eq!(is_card(text, true), want, "{text}");
        // The numbers that payment providers publish for tests.
        check("4111111111111111", true);
        check("4111 1111 1111 1111", true);
        check("4111-1111-1111-1111", true);
        check("4222222222222", true);
        check("5555555555554444", true);
        check("2223003122003222", true);
        check("378282246310005", true);
        check("30569309025904", true);
        check("3530111333300000", true);
        check("6011111111111117", true);
        check("6200000000000005", true);
        check("4111111111111112", false);
        check("x4111111111111111", false);
        check("4111111111111111 and more", false);
        check("1700000000000", false);
        check("1700000000000000000", false);
        check("123456789012", false);
        check("", false);
        check("             ", false);
    }
}

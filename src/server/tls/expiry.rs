//! When a certificate expires: the one field that an operator has to hear of, out of its DER.

/// A value of DER: its tag, its content, and what is behind it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        // X.690 §8.1.3.5: so many bytes of length.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Seconds since 1970 at which a certificate expires (RFC 5280 §4.1.2.5), if it can be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (_, certificate, _) = value(certificate)?;
    let (_, mut fields, _) = value(certificate)?;
    // The version may be left out.
    if let (0xA0, _, rest) = value(fields)? {
        fields = rest;
    }
    // The serial number, the algorithm and the issuer.
    for _ in 0..3 {
        fields = value(fields)?.2;
    }
    let (_, validity, _) = value(fields)?;
    let (_, _, not_after) = value(validity)?;
    let (tag, digits, _) = value(not_after)?;
    let digits = str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        // UTCTime: 50 is 1950, and 49 is 2049.
        0x17 => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        0x18 => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    seconds(year, rest)
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Seconds since 1970 of a moment of this year: month, day, hour, minute and second.
fn seconds(year: u64, rest: &str) -> Option<u64> {
    if rest.len() != 10 || !rest.is_ascii() {
        return None;
    }
    let [month, day, hour, minute, second] =
        [0, 2, 4, 6, 8].map(|at| rest.get(at..at + 2).and_then(number));
    let (month, day) = (month?, day?);
    if year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let in_year = BEFORE[month as usize - 1] + u64::from(is_leap && month > 2) + day - 1;
    let days = (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + in_year;
    Some(((days * 24 + hour?) * 60 + minute?) * 60 + second?)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::not_after;

    #[test]
    fn the_end_of_a_certificate_is_read_on_both_sides_of_2050_and_of_leap_days() {
        let key = KeyPair::generate().unwrap();
        for (year, month, day) in [
            (1999, 12, 31),
            (2000, 2, 29),
            (2024, 3, 1),
            (2049, 12, 31),
            (2050, 1, 1),
            (2100, 3, 1),
            (9999, 12, 31),
        ] {
            let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
            params.not_after = date_time_ymd(year, month, day);
            let made = params.self_signed(&key).unwrap();
            let expected = params.not_after.unix_timestamp() as u64;
            assert_eq!(not_after(made.der()), Some(expected), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_cut_or_changed_has_no_end_or_another() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
        let der = made.cert.der();
        assert!((0..der.len()).all(|end| not_after(&der[..end]).is_none()));
        for at in 0..der.len() {
            for byte in [0, 0x30, 0x7F, 0x80, 0x84, 0x88, 0xFF] {
                let mut changed = der.to_vec();
                changed[at] = byte;
                not_after(&changed);
            }
        }
    }
}

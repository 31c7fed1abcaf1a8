//! What an invocation costs, by region, architecture and how the sandbox was made: the list prices of the first tier,
//! in dollars. Source: <https://aws.amazon.com/lambda/pricing/>, as published in October 2025.
//!
//! Not in it: savings plans, later tiers and the free one, storage above 512 MB, SnapStart's cache and restores, what
//! provisioned concurrency costs while nothing runs. The initialisation is: Lambda counts it into the billed duration
//! where it is paid for (<https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/>).

/// For a request, in all regions.
pub(crate) const REQUEST: f64 = 0.000_000_2;

/// For a gigabyte-second, x86_64 and arm64, where it is not the usual price.
const REGIONS: [(&str, f64, f64); 5] = [
    ("af-south-1", 0.000_022_1, 0.000_017_68),
    ("ap-east-1", 0.000_022_92, 0.000_018_3),
    ("eu-south-1", 0.000_019_517_2, 0.000_015_613_8),
    ("me-central-1", 0.000_020_666_7, 0.000_016_533_4),
    ("me-south-1", 0.000_020_666_7, 0.000_016_533_4),
];
const USUAL: (f64, f64) = (0.000_016_666_7, 0.000_013_333_4);
/// With provisioned concurrency a gigabyte-second of work costs this part of that; the rest is paid for while it is
/// provisioned.
const PROVISIONED_SHARE: f64 = 0.583_33;

/// Dollars for a gigabyte-second. `None` in China, which has prices in another currency.
pub(crate) fn gigabyte_second(region: &str, arm: bool, provisioned: bool) -> Option<f64> {
    if region.starts_with("cn-") {
        return None;
    }
    let known = REGIONS.iter().find(|(name, ..)| *name == region).map(|(_, x86, arm)| (*x86, *arm));
    let (x86_price, arm_price) = known.unwrap_or(USUAL);
    let price = if arm { arm_price } else { x86_price };
    Some(if provisioned { price * PROVISIONED_SHARE } else { price })
}

/// Dollars for one invocation, to a millionth of a millionth.
pub(crate) fn invocation(gigabyte_second: f64, billed_ms: u64, memory_mb: u64) -> f64 {
    let cost = REQUEST + billed_ms as f64 / 1000.0 * (memory_mb as f64 / 1024.0) * gigabyte_second;
    (cost * 1e12).round() / 1e12
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the pricing page's own way of counting: requests, and gigabytes times seconds.
    #[test]
    fn prices() {
        let check = |region, arm, provisioned, want: Option<f64>| {
            let cost = gigabyte_second(region, arm, provisioned).map(|price| invocation(price, 1000, 1024));
            assert_eq!(cost, want, "{region} {arm} {provisioned}");
        };
        check("eu-west-1", false, false, Some(0.000_016_866_7));
        check("eu-west-1", true, false, Some(0.000_013_533_4));
        check("a-new-region", false, false, Some(0.000_016_866_7));
        check("af-south-1", false, false, Some(0.000_022_3));
        check("me-south-1", true, false, Some(0.000_016_733_4));
        check("us-east-1", false, true, Some(0.000_009_922_186));
        check("cn-north-1", false, false, None);
    }
}

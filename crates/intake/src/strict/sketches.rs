//! Distributions as sketches: `SketchPayload`, field by field.
//! <https://github.com/DataDog/agent-payload/blob/master/proto/metrics/agent_payload.proto>

use model::UnixNanos;
use protobuf::{Error, Reader, sint};

use super::json::{metric_name, metric_tags, metric_time};
use super::{Found, rules};

pub(super) fn check(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), String> {
    read(plain, now, found).map_err(|why| why.to_string())
}

fn read(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), Error> {
    let (mut reader, mut count) = (Reader::new(plain), 0);
    while let Some((number, value)) = reader.field()? {
        if number == 1 {
            series(value.message(), &format!("sketches[{count}]"), now, found)?;
            count += 1;
        }
    }
    found.want(count > 0, &rules::EMPTY, "sketches", "empty");
    Ok(())
}

fn series(mut reader: Reader<'_>, at: &str, now: UnixNanos, found: &mut Found) -> Result<(), Error> {
    let (mut name, mut tags, mut points) = (String::new(), Vec::new(), 0);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => name = value.text().into_owned(),
            4 => tags.push(value.text().into_owned()),
            7 => {
                point(value.message(), &format!("{at}.dogsketches[{points}]"), now, found)?;
                points += 1;
            }
            _ => {}
        }
    }
    metric_name(&name, format_args!("{at}.metric"), found);
    metric_tags(tags.iter().map(String::as_str), at, found);
    found.want(points > 0, &rules::METRIC_POINTS, format_args!("{at}.dogsketches"), "empty");
    Ok(())
}

fn point(mut reader: Reader<'_>, at: &str, now: UnixNanos, found: &mut Found) -> Result<(), Error> {
    let (mut time, mut count, [mut min, mut max, mut avg, mut sum]) = (0, 0, [0.0; 4]);
    let (mut keys, mut counts) = (Vec::new(), Vec::new());
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => time = value.uint(),
            2 => count = value.int(),
            3 => min = value.double(),
            4 => max = value.double(),
            5 => avg = value.double(),
            6 => sum = value.double(),
            7 => value.numbers(|n| keys.push(sint(n)))?,
            8 => value.numbers(|n| counts.push(n))?,
            _ => {}
        }
    }
    metric_time(Some(time), time, format_args!("{at}.ts"), now, found);
    let in_order = keys.is_sorted() && keys.iter().all(|key| i16::try_from(*key).is_ok());
    let holds = in_order && keys.len() == counts.len() && counts.iter().all(|n| *n > 0) && keys.len() <= 4096;
    let told = format_args!("{} keys and {} counts", keys.len(), counts.len()).to_string();
    found.want(holds, &rules::SKETCH_BINS, format_args!("{at}.k"), told);
    let total: u64 = counts.iter().sum();
    let holds = count > 0 && count.unsigned_abs() == total;
    found.want(
        holds,
        &rules::SKETCH_COUNT,
        format_args!("{at}.cnt"),
        format_args!("{count}, of {total} in its bins"),
    );
    let scale = min.abs().max(max.abs()).max(1e-9);
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * scale;
    let in_order = min <= avg + 1e-6 * scale && avg <= max + 1e-6 * scale;
    let holds = [min, max, avg, sum].into_iter().all(f64::is_finite)
        && in_order
        && (count <= 0 || close(avg, sum / count as f64));
    let told = format!("min {min}, avg {avg}, max {max}, sum {sum} of {count}");
    found.want(holds, &rules::SKETCH_FIGURES, at, told);
    Ok(())
}

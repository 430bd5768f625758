//! A comparison for machines: JSON lines, and histograms as HdrHistogram's tools read them.
//!
//! Owns: the keys. Promises: a line is one JSON object with a `record`; a figure that was not measured has no key, so nothing
//! is ever zero for want of a number. Refuses to know: what a reader concludes.
//!
//! ```text
//! {"record":"run", "began", "machine", "warnings", "command", "rounds", "base", "contenders":[...]}   the first line
//! {"record":"turn", "cell", "contender", "round", "disturbed", FIGURE:number, ...}                    one for each turn
//! {"record":"cell", "cell", "title", "main", "contender", "turns", "disturbed", "failed",
//!  "figures":{FIGURE:{"median","min","max","ratio":{"median","min","max"} or null}}}       one for each contender in a cell
//! ```

use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::measured;
use crate::results::{ALL, Cell, Run, Spread};

/// The whole comparison, a JSON object on each line.
pub fn write(run: &Run, base: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", head(run, base))?;
    for cell in &run.cells {
        for (at, contender) in run.contenders.iter().enumerate() {
            for line in turns(cell, at, &contender.name) {
                writeln!(out, "{line}")?;
            }
        }
        for (at, contender) in run.contenders.iter().enumerate() {
            writeln!(out, "{}", whole(cell, at, base, &contender.name))?;
        }
    }
    Ok(())
}

fn head(run: &Run, base: usize) -> Value {
    let machine: Vec<Value> = run.machine.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let contenders = run.contenders.iter().map(|contender| {
        json!({
            "name": contender.name,
            "version": contender.version,
            "command": contender.command,
            "raw": contender.raw,
            "missing": contender.missing,
        })
    });
    json!({
        "record": "run",
        "began": run.began,
        "machine": machine,
        "warnings": run.warnings,
        "command": run.command,
        "rounds": run.rounds,
        "base": run.contenders[base].name,
        "contenders": contenders.collect::<Vec<_>>(),
    })
}

fn turns(cell: &Cell, at: usize, contender: &str) -> impl Iterator<Item = Value> {
    cell.turns[at].iter().enumerate().map(move |(round, turn)| {
        let mut line = json!({
            "record": "turn",
            "cell": cell.id,
            "contender": contender,
            "round": round + 1,
            "disturbed": turn.disturbed,
        });
        for figure in ALL {
            if let Some(value) = turn.figure(*figure) {
                line[figure.key] = json!(value);
            }
        }
        line
    })
}

fn whole(cell: &Cell, at: usize, base: usize, contender: &str) -> Value {
    let mut figures = Map::new();
    for figure in measured(cell) {
        if let Some(spread) = cell.spread(at, figure) {
            let mut entry = three(spread);
            entry["ratio"] = cell.ratio(at, base, figure).map_or(Value::Null, three);
            figures.insert(figure.key.into(), entry);
        }
    }
    json!({
        "record": "cell",
        "cell": cell.id,
        "title": cell.title,
        "main": cell.main.key,
        "contender": contender,
        "turns": cell.turns[at].len(),
        "disturbed": cell.disturbed(at),
        "failed": cell.failures.get(at),
        "left_out": cell.left_out.get(at),
        "figures": figures,
    })
}

fn three(spread: Spread) -> Value {
    json!({ "median": spread.median, "min": spread.min, "max": spread.max })
}

/// Steps in each half of the way to 100 %: what HdrHistogram's own tools take.
const TICKS_PER_HALF: u32 = 5;

/// A histogram of nanoseconds as percentiles in microseconds: the text that `outputPercentileDistribution` of HdrHistogram
/// writes and its plotter reads.
pub fn hgrm(histogram: &Histogram<u64>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / 1e3, step.quantile_iterated_to());
        match 1.0 / (1.0 - quantile) {
            inverse if inverse.is_finite() => writeln!(out, "{value:12.3} {quantile:.12} {count:10} {inverse:14.2}")?,
            // 100 %: infinite, which the plotter wants left out.
            _ => writeln!(out, "{value:12.3} {quantile:.12} {count:10}")?,
        }
    }
    // What HdrHistogram calls sub-buckets: the smallest power of two that keeps the digits it promises.
    let sub_buckets = (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(out, "#[Max     = {:12.3}, Total count    = {:12}]", histogram.max() as f64 / 1e3, histogram.len())?;
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values, mean, deviation and buckets from another implementation (the Python one), which counted the same samples; the
    /// steps between them by the Java original's rule (five to each half of the rest), in whole fractions.
    const EXPECTED: &str = "       Value     Percentile TotalCount 1/(1-Percentile)

      17.007 0.000000000000          1           1.00
      18.015 0.100000000000          2           1.11
      19.007 0.200000000000          3           1.25
      20.015 0.300000000000          4           1.43
      21.007 0.400000000000          6           1.67
      22.015 0.500000000000          7           2.00
      25.007 0.550000000000          8           2.22
      25.007 0.600000000000          8           2.50
      30.015 0.650000000000          9           2.86
      31.007 0.700000000000         10           3.33
      31.007 0.750000000000         10           4.00
      40.031 0.775000000000         11           4.44
      40.031 0.800000000000         11           5.00
      40.031 0.825000000000         11           5.71
      75.007 0.850000000000         12           6.67
      75.007 0.875000000000         12           8.00
      75.007 0.887500000000         12           8.89
      75.007 0.900000000000         12          10.00
      75.007 0.912500000000         12          11.43
     900.095 0.925000000000         13          13.33
     900.095 1.000000000000         13
#[Mean    =       95.259, StdDeviation   =      232.739]
#[Max     =      900.095, Total count    =           13]
#[Buckets =           32, SubBuckets     =         2048]
";

    #[test]
    fn as_hdrhistogram_writes_it() {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
        for value in
            [17_000, 18_000, 19_000, 20_000, 20_500, 21_000, 22_000, 25_000, 30_000, 31_000, 40_000, 75_000, 900_000]
        {
            histogram.record(value).unwrap();
        }
        let mut text = Vec::new();
        hgrm(&histogram, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), EXPECTED);
    }
}

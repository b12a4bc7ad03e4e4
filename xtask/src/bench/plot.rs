//! How time grows with nodes and with files, drawn from raw data.

use super::report::{self, Median, Row};
use crate::failure::{Failure, Result};
use crate::workload;
use plotters::prelude::*;
use std::path::Path;

/// What both pictures show, each change in a panel of its own.
const CHANGES: [(&str, &str); 2] =
    [("full", "full: onto an empty target"), ("none", "none: nothing has changed")];

/// The tools, in the order of the legend; each has a colour that is told apart by those who see few colours, and a mark.
const TOOLS: [(&str, RGBColor); 2] =
    [("rsync-p", RGBColor(213, 94, 0)), ("depsync", RGBColor(0, 90, 170))];

const SIZE: (u32, u32) = (960, 400);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(222, 222, 222);
const FONT: &str = "sans-serif";

/// A picture: what grows, and where a median stands in it.
struct Growth {
    suffix: &'static str,
    title: &'static str,
    axis: &'static str,
    at: fn(&Median) -> Option<f64>,
    tick: fn(&f64) -> String,
}

const GROWTHS: [Growth; 2] = [
    Growth {
        suffix: "-nodes.svg",
        title: "Time of a push by nodes: mi, 60 applications and 3,000 configuration files",
        axis: "nodes",
        at: |median| (median.work == "mi").then_some(f64::from(median.nodes)),
        tick: |value| format!("{value:.0}"),
    },
    Growth {
        suffix: "-files.svg",
        title: "Time of a push by files: 0.2 to 2 KB each, one node",
        axis: "files",
        at: |median| {
            let files = workload::files_of(&median.work).filter(|_| median.nodes == 1)?;
            u32::try_from(files).ok().map(f64::from)
        },
        tick: |value| thousands(*value),
    },
];

/// Draws each picture for which there are two points at least, beside the raw data at `path`.
///
/// # Errors
/// A picture cannot be written.
pub(super) fn draw(rows: &[Row], path: &Path) -> Result {
    let medians = report::medians(rows, report::base(rows.iter().map(|row| row.tool.as_str())));
    let medians: Vec<Median> =
        medians.into_iter().filter(|median| median.mbit == 0 && median.ok).collect();
    for growth in &GROWTHS {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let picture = path.with_file_name(format!("{stem}{}", growth.suffix));
        if places(medians.iter().filter_map(growth.at)).len() < 2 {
            println!("no growth with {} to plot", growth.axis);
            continue;
        }
        draw_one(growth, &medians, &picture)
            .map_err(|error| Failure::new(format!("draw {}: {error}", picture.display())))?;
        println!("wrote {}", picture.display());
    }
    Ok(())
}

/// A tool, its colour, and where its medians stand.
type Drawing = (&'static str, RGBColor, Vec<(f64, f64)>);

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw_one(growth: &Growth, medians: &[Median], picture: &Path) -> Drawn {
    let root = SVGBackend::new(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let title = (FONT, 17).into_font().color(&INK);
    let area = root.titled(growth.title, title)?;
    for (panel, (change, caption)) in area.split_evenly((1, 2)).iter().zip(CHANGES) {
        let lines: Vec<Drawing> = TOOLS
            .into_iter()
            .map(|(tool, color)| (tool, color, points(growth, medians, change, tool)))
            .filter(|(_, _, points)| !points.is_empty())
            .collect();
        draw_panel(growth, caption, &lines, panel)?;
    }
    root.present()?;
    Ok(())
}

/// Where a tool's medians stand, from left to right.
fn points(growth: &Growth, medians: &[Median], change: &str, tool: &str) -> Vec<(f64, f64)> {
    let of_tool = medians.iter().filter(|median| median.change == change && median.tool == tool);
    let mut points: Vec<(f64, f64)> =
        of_tool.filter_map(|median| Some(((growth.at)(median)?, median.wall))).collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

fn draw_panel(
    growth: &Growth,
    caption: &str,
    lines: &[Drawing],
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Drawn {
    let all = || lines.iter().flat_map(|(_, _, points)| points);
    let (from, to) = span(all().map(|point| point.0), 1.15);
    let (low, high) = span(all().map(|point| point.1), 1.1);
    let y_ticks = decades(low, high * headroom(low, high));
    let (low, high) = (*y_ticks.first().unwrap_or(&low), *y_ticks.last().unwrap_or(&high));
    let x_ticks = places(all().map(|point| point.0));
    let mut chart = ChartBuilder::on(panel)
        .caption(caption, (FONT, 14).into_font().color(&INK))
        .margin(8)
        // Half of the last number on the axis of files stands beside the panel's grid.
        .margin_right(30)
        .x_label_area_size(42)
        .y_label_area_size(58)
        .build_cartesian_2d(
            (from..to).log_scale().with_key_points(x_ticks),
            (low..high).log_scale().with_key_points(y_ticks),
        )?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_desc(format!("{} (log)", growth.axis))
        .y_desc("wall time in seconds (log)")
        .x_label_formatter(&growth.tick)
        .y_label_formatter(&|value| format!("{value}"))
        .label_style((FONT, 12).into_font().color(&INK))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .draw()?;
    for (tool, color, points) in lines {
        let color = *color;
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        // A disc for depsync, a square for others.
        let all = points.iter().copied();
        let drawn = if *tool == "depsync" {
            chart.draw_series(all.map(|point| Circle::new(point, 4, color.filled())))?
        } else {
            let square = move || Rectangle::new([(-4, -4), (4, 4)], color.filled());
            chart.draw_series(all.map(|point| EmptyElement::at(point) + square()))?
        };
        drawn
            .label(*tool)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font((FONT, 13).into_font().color(&INK))
        .draw()?;
    Ok(())
}

/// From a little below the smallest to a little above the largest value, which are above zero.
fn span(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (low, high) = values
        .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low.is_finite() && low > 0.0 { (low / margin, high * margin) } else { (0.1, 10.0) }
}

/// What the highest value is raised by, so that the legend stands above all lines.
fn headroom(low: f64, high: f64) -> f64 {
    (high / low).powf(0.25).max(1.3)
}

/// One, two and five times each power of ten, from the last that is not above `low` to the first that is not below `high`.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let steps = (-6..=6).flat_map(|power| [1, 2, 5].map(|step| format!("{step}e{power}")));
    // Read from text, as products of powers are not the nearest numbers and would be shown with all their digits.
    let steps: Vec<f64> = steps.filter_map(|text| text.parse().ok()).collect();
    let first = steps.iter().rposition(|step| *step <= low).unwrap_or_default();
    let last = steps.iter().position(|step| *step >= high).unwrap_or(steps.len());
    steps.into_iter().take(last.saturating_add(1)).skip(first).collect()
}

/// Every place where something was measured.
fn places(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut places: Vec<f64> = values.collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

/// A number with commas between its thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::row;
    use super::*;

    #[test]
    fn axes_hold_all_points_and_their_ticks() {
        let (low, high) = span([0.5, 20.0, 3.0].into_iter(), 2.0);
        assert!((low - 0.25).abs() < 1e-9 && (high - 40.0).abs() < 1e-9);
        assert_eq!(decades(low, high), [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(decades(0.1, 0.2), [0.1, 0.2]);
        assert!((headroom(1.0, 16.0) - 2.0).abs() < 1e-9 && headroom(1.0, 1.0) > 1.2);
        assert_eq!(span(std::iter::empty(), 2.0), (0.1, 10.0));
        assert_eq!(thousands(1_000_000.0), "1,000,000");
        assert_eq!(thousands(100.0), "100");
    }

    #[test]
    fn points_are_those_of_the_growth_from_left_to_right() {
        let rows = [
            row("mi", 8, "depsync", 4.0),
            row("mi", 1, "depsync", 1.0),
            row("files-1000", 1, "depsync", 0.5),
            row("files-1000", 2, "depsync", 0.7),
            row("mi", 1, "rsync-p", 2.0),
        ];
        let medians = report::medians(&rows, "rsync-p");
        let [nodes, files] = &GROWTHS;
        assert_eq!(points(nodes, &medians, "full", "depsync"), [(1.0, 1.0), (8.0, 4.0)]);
        assert_eq!(points(files, &medians, "full", "depsync"), [(1000.0, 0.5)]);
        assert_eq!(points(nodes, &medians, "none", "depsync"), []);
    }

    #[test]
    fn a_picture_names_its_axes_and_both_tools() {
        let path = std::env::temp_dir().join(format!("xtask-plot-{}.json", std::process::id()));
        let rows: Vec<Row> = [4, 1, 2]
            .into_iter()
            .flat_map(|nodes| {
                [("rsync-p", 2.0), ("depsync", 1.0)]
                    .map(|(tool, wall)| row("mi", nodes, tool, wall * f64::from(nodes)))
            })
            .collect();
        draw(&rows, &path).unwrap();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let picture = path.with_file_name(format!("{stem}-nodes.svg"));
        let text = std::fs::read_to_string(&picture).unwrap();
        std::fs::remove_file(&picture).unwrap();
        for word in ["rsync-p", "depsync", "nodes (log)", "wall time in seconds (log)"] {
            assert!(text.contains(word), "{word}");
        }
        assert!(!path.with_file_name(format!("{stem}-files.svg")).exists());
    }
}

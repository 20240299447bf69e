//! What a clean database costs over the size of the schema, as a picture for each engine.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontStyle;

use crate::Result;
use crate::report::shown;
use crate::result::{Cell, Report};
use crate::site::Engine;

const SIZE: (u32, u32) = (1100, 640);
/// Room for the names at the right.
const NAMES: u32 = 390;
const LINE: i32 = 19;

struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Those that are drawn: one test at a time.
fn cells(report: &Report, engine: Engine) -> Vec<&Cell> {
    report.cells.iter().filter(|cell| cell.engine == engine && cell.workers == 1).collect()
}

fn curves(cells: &[&Cell]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for cell in cells {
        for line in &cell.lines {
            // What isolates nothing has no cost to show.
            if line.isolation.median < 1.0 || line.name.contains("nothing isolated") {
                continue;
            }
            let point = (cell.tables as f64, line.isolation.median);
            match curves.iter_mut().find(|curve| curve.name == line.name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { name: line.name.clone(), points: vec![point] }),
            }
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    curves
}

fn draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, title: &str, curves: &[Curve]) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(0.0, f64::max);
    let least = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::MAX, f64::min);
    let (left, right) = (least(|point| point.0), most(|point| point.0));
    let (low, high) = (least(|point| point.1) / 1.5, most(|point| point.1) * 1.5);
    let (plot, names) = area.split_horizontally(SIZE.0 - NAMES);
    let mut chart = ChartBuilder::on(&plot)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("tables in the schema")
        .x_label_formatter(&|tables| format!("{tables:.0}"))
        .y_label_formatter(&|micros| shown(*micros))
        .label_style(("sans-serif", 15))
        .draw()?;
    let mut labels = Vec::new();
    for (number, curve) in curves.iter().enumerate() {
        let colour = if curve.name.starts_with("floor") {
            RGBColor(120, 120, 120)
        } else if curve.name.starts_with("dbtest") {
            [RGBColor(0, 90, 200), RGBColor(0, 140, 90), RGBColor(130, 60, 190), RGBColor(0, 150, 190)]
                [number % 4]
        } else {
            [RGBColor(215, 90, 20), RGBColor(190, 30, 60), RGBColor(160, 120, 0), RGBColor(120, 60, 30)]
                [number % 4]
        };
        let wide = if curve.name.starts_with("dbtest") { 3 } else { 2 };
        chart.draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(wide)))?;
        chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, wide + 1, colour.filled())))?;
        if let Some(last) = curve.points.last() {
            labels.push((chart.backend_coord(last).1, &curve.name, colour, last.1));
        }
    }
    labels.sort_by_key(|label| label.0);
    let mut free = LINE;
    let mut left = i32::try_from(labels.len())?;
    for (at, name, colour, micros) in labels {
        // No name on another, and room for those below.
        let y = (at - LINE / 2).max(free).min(i32::try_from(SIZE.1)? - LINE * left);
        (free, left) = (y + LINE, left - 1);
        let text = format!("{name}  {}", shown(micros));
        names.draw_text(&text, &("sans-serif", 15).into_font().color(&colour), (0, y))?;
    }
    area.present()?;
    Ok(())
}

pub fn write(report: &Report, folder: &Path) -> Result<()> {
    let font = epaint_default_fonts::UBUNTU_LIGHT;
    plotters::style::register_font("sans-serif", FontStyle::Normal, font)
        .map_err(|_| "the font can't be used")?;
    std::fs::create_dir_all(folder)?;
    for engine in [Engine::Postgres, Engine::MariaDb, Engine::MySql, Engine::Sqlite] {
        let cells = cells(report, engine);
        let Some(first) = cells.first() else { continue };
        let curves = curves(&cells);
        let title = format!("{} {}: what isolating one test costs", engine.name(), first.version);
        let file = |end| folder.join(format!("isolation-{}.{end}", engine.word()));
        draw(&SVGBackend::new(&file("svg"), SIZE).into_drawing_area(), &title, &curves)?;
        draw(&BitMapBackend::new(&file("png"), SIZE).into_drawing_area(), &title, &curves)?;
    }
    Ok(())
}

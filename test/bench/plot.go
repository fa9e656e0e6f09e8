package main

import (
	"image/color"
	"os"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	ours   = color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}
	theirs = color.RGBA{R: 0xb8, G: 0xb8, B: 0xb8, A: 0xff}
)

// plotGroups draws each group's medians as bars below each other, with a line from the least to the most.
func plotGroups(groups []group, file string) error {
	const width, height = 18 * vg.Centimeter, 8 * vg.Centimeter
	canvas := vgsvg.New(width, height*vg.Length(len(groups)))
	tiles := draw.Tiles{Cols: 1, Rows: len(groups), PadTop: 3 * vg.Millimeter, PadY: 5 * vg.Millimeter, PadLeft: 5 * vg.Millimeter, PadRight: 5 * vg.Millimeter}
	plots := make([][]*plot.Plot, len(groups))
	for i, g := range groups {
		p, err := bars(g)
		if err != nil {
			return err
		}
		plots[i] = []*plot.Plot{p}
	}
	for i, aligned := range plot.Align(plots, tiles, draw.New(canvas)) {
		plots[i][0].Draw(aligned[0])
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = canvas.WriteTo(out)
	return err
}

func bars(g group) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = g.title
	p.Title.Padding = 2 * vg.Millimeter
	p.X.Label.Text = g.unit
	p.X.Min = 0
	names := make([]string, len(g.rows))
	// Bars are drawn from the bottom up: the first row comes last.
	for i, r := range slices.Backward(g.rows) {
		at := len(g.rows) - 1 - i
		names[at] = r.name
		middle := median(r.rounds)
		bar, err := plotter.NewBarChart(plotter.Values{middle}, 5*vg.Millimeter)
		if err != nil {
			return nil, err
		}
		bar.Horizontal, bar.XMin, bar.LineStyle.Width = true, float64(at), 0
		bar.Color = theirs
		if strings.HasPrefix(r.name, thisPlugin) {
			bar.Color = ours
		}
		line, err := plotter.NewXErrorBars(struct {
			plotter.XYs
			plotter.XErrors
		}{
			plotter.XYs{{X: middle, Y: float64(at)}},
			plotter.XErrors{{Low: middle - slices.Min(r.rounds), High: slices.Max(r.rounds) - middle}},
		})
		if err != nil {
			return nil, err
		}
		p.Add(bar, line)
	}
	p.NominalY(names...)
	return p, nil
}

package main

import "slices"

// row is a contender's figures, one for each round.
type row struct {
	name   string
	rounds []float64
}

func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio compares two contenders round by round: within a round, what else the machine does strikes
// both.
func ratio(a, b row) []float64 {
	ratios := make([]float64, len(a.rounds))
	for i := range ratios {
		ratios[i] = a.rounds[i] / b.rounds[i]
	}
	return ratios
}

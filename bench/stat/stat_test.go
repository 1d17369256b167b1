package stat

import (
	"math"
	"testing"
)

func TestSummarize(t *testing.T) {
	nan := math.NaN()
	for _, test := range []struct {
		values []float64
		want   Summary
	}{
		{[]float64{3, 1, 2}, Summary{Median: 2, Min: 1, Max: 3, N: 3}},
		{[]float64{4, 1, 2, 3}, Summary{Median: 2.5, Min: 1, Max: 4, N: 4}},
		{[]float64{nan, 7, nan}, Summary{Median: 7, Min: 7, Max: 7, N: 1}},
	} {
		if got := Summarize(test.values); got != test.want {
			t.Errorf("Summarize(%v) = %+v, want %+v", test.values, got, test.want)
		}
	}
	if got := Summarize([]float64{1234.56, 0.5, 2e6}).String(); got != "1235 (0.5 to 2e+06)" {
		t.Errorf("written %q", got)
	}
	if got := Summarize([]float64{nan}); !math.IsNaN(got.Median) || got.N != 0 {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestRatios(t *testing.T) {
	nan := math.NaN()
	got := Ratios([]float64{6, 5, nan, 1, 9}, []float64{3, 0, 2, nan})
	if len(got) != 4 || got[0] != 2 || !math.IsNaN(got[1]) || !math.IsNaN(got[2]) || !math.IsNaN(got[3]) {
		t.Errorf("ratios %v, want [2 NaN NaN NaN]", got)
	}
}

func TestTarget(t *testing.T) {
	for _, test := range []struct {
		target  Target
		value   float64
		want    bool
		verdict string
	}{
		{Target{AtLeast: 2}, 2, true, "≥ 2 met"}, {Target{AtLeast: 2}, 1.99, false, "≥ 2 missed"},
		{Target{AtMost: 1.1}, 1.1, true, "≤ 1.1 met"}, {Target{AtMost: 1.1}, 1.2, false, "≤ 1.1 missed"},
		{Target{AtLeast: 1, AtMost: 2}, 1.5, true, "≥ 1 ≤ 2 met"}, {Target{AtLeast: 1, AtMost: 2}, 3, false, "≥ 1 ≤ 2 missed"},
		{Target{}, 5, true, ""}, {Target{AtMost: 1}, math.NaN(), false, "≤ 1 missed"},
	} {
		if got := test.target.Verdict(test.value); got != test.verdict {
			t.Errorf("%+v of %v: %q, want %q", test.target, test.value, got, test.verdict)
		}
		if got := test.target.Met(test.value); got != test.want {
			t.Errorf("%+v met by %v: %v, want %v", test.target, test.value, got, test.want)
		}
	}
}

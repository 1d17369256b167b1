package main

import (
	"bytes"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/stat"
)

const output = `goos: linux
cpu: any CPU @ 2.00GHz
BenchmarkOutbound/1400-2         	     100	      1100 ns/op	   0 B/op	       0 allocs/op
BenchmarkOutbound/64             	     100	       130.5 ns/op	 490.20 MB/s	       0 B/op	       0 allocs/op
BenchmarkBareSeal/1400-2         	     100	      1000 ns/op
BenchmarkIsOnlyMentioned in a log line
PASS
`

func TestParse(t *testing.T) {
	samples, err := parse(strings.NewReader(output))
	if err != nil || len(samples) != 3 {
		t.Fatalf("%d samples, %v; want 3", len(samples), err)
	}
	if s := samples[0]; s.name != "Outbound/1400" || s.values["ns/op"] != 1100 || len(s.values) != 3 {
		t.Errorf("first sample %+v", s)
	}
	if s := samples[1]; s.name != "Outbound/64" || s.values["ns/op"] != 130.5 || s.values["MB/s"] != 490.2 {
		t.Errorf("second sample %+v", s)
	}
	if _, err := parse(strings.NewReader("BenchmarkX 100 1.2.3 ns/op\n")); err == nil {
		t.Error("a value that is no number was read")
	}
}

func TestWriteFormsRatiosWithinRounds(t *testing.T) {
	m := &measurement{series: make(map[key]series)}
	// The machine slows down threefold from round to round; the ratio does not.
	for round, base := range []float64{100, 300, 900} {
		m.add("./p", round, 3, []sample{
			{"Fast", map[string]float64{nsPerOp: base}}, {"Slow", map[string]float64{nsPerOp: 2 * base, "allocs/op": 7}}})
	}
	m.add("./p", 1, 3, []sample{{"Once", map[string]float64{nsPerOp: 5}}})
	if once := m.series[key{"./p", "Once"}][nsPerOp]; len(once) != 3 || once[1] != 5 || !math.IsNaN(once[0]) || !math.IsNaN(once[2]) {
		t.Errorf("a benchmark of one round: %v", once)
	}
	table := []ratio{
		{"good", "./p", "Slow", "Fast", stat.Target{AtMost: 2}, ""},
		{"bad", "./p", "Slow", "Fast", stat.Target{AtLeast: 2.5}, ""},
		{"aimless", "./p", "Fast", "Slow", stat.Target{}, ""},
		{"single", "./p", "Slow", "", stat.Target{AtMost: 8}, "allocs/op"},
		{"absent", "./p", "Slow", "Nowhere", stat.Target{}, ""},
		{"unheard of", "./p", "Fast", "", stat.Target{}, "allocs/op"},
		{"of a unit", "./p", "Slow", "Slow", stat.Target{AtMost: 2}, "allocs/op"},
		{"of a lost unit", "./p", "Slow", "Fast", stat.Target{}, "allocs/op"},
	}
	if got := m.formable(table); len(got) != 5 {
		t.Errorf("formable: %v", got)
	}
	var out bytes.Buffer
	missing, err := m.write(&out, table)
	if err != nil || missing != 3 {
		t.Errorf("missing %d, %v; want 3", missing, err)
	}
	for _, want := range []string{
		`p Slow +600 \(200 to 1800\) of 3 +7 allocs/op`,
		`good +2\.000 x \(2\.000 to 2\.000\) of 3 +≤ 2 met`,
		`bad +2\.000 x .* ≥ 2\.5 missed`,
		`aimless +0\.500 x .*\) of 3 *\n`,
		`single +7\.0 \(7\.0 to 7\.0\) of 3 +≤ 8 met`,
		`of a unit +1\.000 x .* ≤ 2 met`,
		`of a lost unit +not measured`,
		`unheard of +not measured +\./p lacks BenchmarkFast with allocs/op`,
		`absent +not measured +\./p lacks BenchmarkSlow or BenchmarkNowhere`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestJobsRunEachPackageOnce(t *testing.T) {
	got := jobs([]ratio{{pkg: "./p", numerator: "A/1", denominator: "B"}, {pkg: "./q", numerator: "C", unit: "MB"}, {pkg: "./p", numerator: "D", denominator: "A/2"}})
	if len(got) != 2 || got[1].pattern != "^Benchmark(C)$" || got[0].pkg != "./p" || got[1].pkg != "./q" {
		t.Fatalf("jobs %+v", got)
	}
	pattern := regexp.MustCompile(got[0].pattern)
	for name, want := range map[string]bool{"BenchmarkA": true, "BenchmarkB": true, "BenchmarkD": true, "BenchmarkC": false, "BenchmarkAB": false} {
		if pattern.MatchString(name) != want {
			t.Errorf("%s runs: %v, want %v", name, !want, want)
		}
	}
}

// TestJobsOfPairs: what is pairwise runs each pair of benchmarks by itself, and once for all its ratios.
func TestJobsOfPairs(t *testing.T) {
	var table []ratio
	for pkg := range pairwise {
		table = append(table, ratio{pkg: pkg, numerator: "A.x/1400", denominator: "B/1400"}, ratio{pkg: pkg, numerator: "W/many/1", denominator: "W/many/2"},
			ratio{pkg: pkg, numerator: "W/many/1", denominator: "W/many/2", unit: "MB"})
	}
	got := jobs(table)
	if len(got) != 2*len(pairwise) {
		t.Fatalf("jobs %+v", got)
	}
	for i, want := range []string{`^(BenchmarkA\.x|BenchmarkB)$/^(1400)$`, `^(BenchmarkW)$/^(many)$/^(1|2)$`} {
		if got[i].pattern != want || got[i].times < 2 {
			t.Errorf("%+v, want the pattern %s", got[i], want)
		}
	}
}

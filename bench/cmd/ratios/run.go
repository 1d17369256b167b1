package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A job is benchmarks to run of one package.
type job struct {
	pkg     string // as an argument of go test
	pattern string // of -bench
	times   int    // in a round
}

// jobs of the table: each package once, with the top-level names that its ratios mention, or what is in pairwise, each ratio by
// itself.
func jobs(table []ratio) []job {
	var order []string
	names := make(map[string][]string)
	var all []job
	for _, r := range table {
		if times := pairwise[r.pkg]; times > 0 {
			if j := (job{r.pkg, both(r.numerator, r.denominator), times}); !slices.Contains(all, j) {
				all = append(all, j)
			}
			continue
		}
		if names[r.pkg] == nil {
			order = append(order, r.pkg)
		}
		for _, full := range []string{r.numerator, r.denominator} {
			if top, _, _ := strings.Cut(full, "/"); top != "" && !slices.Contains(names[r.pkg], top) {
				names[r.pkg] = append(names[r.pkg], top)
			}
		}
	}
	for _, pkg := range order {
		all = append(all, job{pkg, "^Benchmark(" + strings.Join(names[pkg], "|") + ")$", 1})
	}
	return all
}

// both returns the pattern of a ratio's two benchmarks, whose names have equally many parts.
func both(numerator, denominator string) string {
	parts := strings.Split("Benchmark"+numerator, "/")
	for i, other := range strings.Split("Benchmark"+denominator, "/") {
		this := regexp.QuoteMeta(parts[i])
		if other != parts[i] {
			this += "|" + regexp.QuoteMeta(other)
		}
		parts[i] = "^(" + this + ")$"
	}
	return strings.Join(parts, "/")
}

// A series is what a benchmark gave: by unit, one value for each run, NaN where it was missing.
type series map[string][]float64

// key names a benchmark across packages.
type key struct{ pkg, name string }

// A measurement is every series, and the order in which the benchmarks first appeared.
type measurement struct {
	order  []key
	series map[key]series
}

// add files the samples of one of so many runs. Of a benchmark that is in a run twice the last counts.
func (m *measurement) add(pkg string, run, runs int, samples []sample) {
	for _, s := range samples {
		k := key{pkg, s.name}
		if m.series[k] == nil {
			m.order = append(m.order, k)
			m.series[k] = make(series)
		}
		for unit, value := range s.values {
			values := m.series[k][unit]
			for len(values) < runs {
				values = append(values, math.NaN())
			}
			values[run] = value
			m.series[k][unit] = values
		}
	}
}

// measure builds each package's test binary once and runs each job in every round.
func measure(ctx context.Context, todo []job, rounds int, benchtime string) (*measurement, error) {
	dir, err := os.MkdirTemp("", "ratios-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for test binaries: %w", err)
	}
	defer os.RemoveAll(dir)
	m := &measurement{series: make(map[key]series)}
	binaries := make(map[string]string)
	for i, j := range todo {
		if binaries[j.pkg] != "" {
			continue
		}
		binary := filepath.Join(dir, fmt.Sprintf("%d.test", i))
		if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, j.pkg).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the benchmarks of %s: %w\n%s", j.pkg, err, out)
		}
		if _, err := os.Stat(binary); err != nil {
			return nil, fmt.Errorf("%s has no tests", j.pkg)
		}
		binaries[j.pkg] = binary
	}
	for round := range rounds {
		for _, j := range todo {
			for i := range j.times {
				samples, err := once(ctx, binaries[j.pkg], j, benchtime)
				if err != nil {
					return nil, err
				}
				m.add(j.pkg, round*j.times+i, rounds*j.times, samples)
			}
		}
	}
	return m, nil
}

// once runs a test binary in its package's directory, as go test does.
func once(ctx context.Context, binary string, j job, benchtime string) ([]sample, error) {
	where, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", j.pkg).Output()
	if err != nil {
		return nil, fmt.Errorf("find the directory of %s: %w", j.pkg, err)
	}
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", j.pattern, "-test.benchmem", "-test.benchtime", cmp.Or(benchtime, benchtimes[j.pkg], "200ms"))
	cmd.Dir = strings.TrimSpace(string(where))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run the benchmarks of %s: %w\n%s", j.pkg, err, out)
	}
	return parse(bytes.NewReader(out))
}

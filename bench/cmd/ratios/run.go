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
	"slices"
	"strings"
)

// A job is the benchmarks to run of one package.
type job struct {
	pkg     string // as an argument of go test
	pattern string // of -bench
}

// jobs of the table: each package once, with the top-level names that its ratios mention.
func jobs(table []ratio) []job {
	var order []string
	names := make(map[string][]string)
	for _, r := range table {
		if names[r.pkg] == nil {
			order = append(order, r.pkg)
		}
		for _, full := range []string{r.numerator, r.denominator} {
			if top, _, _ := strings.Cut(full, "/"); top != "" && !slices.Contains(names[r.pkg], top) {
				names[r.pkg] = append(names[r.pkg], top)
			}
		}
	}
	var all []job
	for _, pkg := range order {
		all = append(all, job{pkg: pkg, pattern: "^Benchmark(" + strings.Join(names[pkg], "|") + ")$"})
	}
	return all
}

// A series is what the rounds gave for one benchmark: by unit, one value a round, NaN where it was missing.
type series map[string][]float64

// key names a benchmark across packages.
type key struct{ pkg, name string }

// A measurement is every series, and the order in which the benchmarks first appeared.
type measurement struct {
	order  []key
	series map[key]series
	rounds int
}

// add files the samples of one round. Of a benchmark that was run twice in a round the last counts.
func (m *measurement) add(pkg string, round int, samples []sample) {
	for _, s := range samples {
		k := key{pkg, s.name}
		if m.series[k] == nil {
			m.order = append(m.order, k)
			m.series[k] = make(series)
		}
		for unit, value := range s.values {
			values := m.series[k][unit]
			for len(values) < m.rounds {
				values = append(values, math.NaN())
			}
			values[round] = value
			m.series[k][unit] = values
		}
	}
}

// measure builds each job's test binary once and runs it once a round, job after job.
func measure(ctx context.Context, todo []job, rounds int, benchtime string) (*measurement, error) {
	dir, err := os.MkdirTemp("", "ratios-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for test binaries: %w", err)
	}
	defer os.RemoveAll(dir)
	m := &measurement{series: make(map[key]series), rounds: rounds}
	binaries := make([]string, len(todo))
	for i, j := range todo {
		binaries[i] = filepath.Join(dir, fmt.Sprintf("%d.test", i))
		if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binaries[i], j.pkg).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the benchmarks of %s: %w\n%s", j.pkg, err, out)
		}
		if _, err := os.Stat(binaries[i]); err != nil {
			return nil, fmt.Errorf("%s has no tests", j.pkg)
		}
	}
	for round := range rounds {
		for i, j := range todo {
			samples, err := once(ctx, binaries[i], j, benchtime)
			if err != nil {
				return nil, err
			}
			m.add(j.pkg, round, samples)
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
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", j.pattern, "-test.benchmem", "-test.benchtime", cmp.Or(benchtimes[j.pkg], benchtime))
	cmd.Dir = strings.TrimSpace(string(where))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run the benchmarks of %s: %w\n%s", j.pkg, err, out)
	}
	return parse(bytes.NewReader(out))
}

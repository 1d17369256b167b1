package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// A sample is one line of a benchmark's output: values by unit, such as ns/op and allocs/op.
type sample struct {
	name   string
	values map[string]float64
}

var processors = regexp.MustCompile(`-\d+$`)

// parse reads what `go test -bench` writes. Lines that are no result of a benchmark are left out.
func parse(r io.Reader) ([]sample, error) {
	var samples []sample
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		name, ok := "", false
		if len(fields) >= 4 && len(fields)%2 == 0 { // name, iterations, then pairs of value and unit
			name, ok = strings.CutPrefix(fields[0], "Benchmark")
		}
		if !ok {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue
		}
		s := sample{name: processors.ReplaceAllString(name, ""), values: make(map[string]float64)}
		for i := 2; i < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read the result of benchmark %s: %w", name, err)
			}
			s.values[fields[i+1]] = value
		}
		samples = append(samples, s)
	}
	return samples, lines.Err()
}

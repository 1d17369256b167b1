//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "sidebyside: network namespaces exist on Linux only; the benchmarks in memory run everywhere (make bench-ratios)")
	os.Exit(1)
}

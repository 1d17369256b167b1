//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "ikebench: network namespaces exist on Linux only")
	os.Exit(1)
}

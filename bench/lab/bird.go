//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// BIRDPrograms are what [Require] should be given.
var BIRDPrograms = []string{"bird", "birdc"}

// BIRD is a BIRD 2 on one host, driven by birdc.
type BIRD struct {
	*Process
	host   *Host
	socket string
}

// StartBIRD starts BIRD on the host with a configuration in its language and more arguments for its command line, and returns when
// it answers.
func (h *Host) StartBIRD(ctx context.Context, conf string, args ...string) (*BIRD, error) {
	dir, err := os.MkdirTemp(h.lab.dir, h.Name+"-bird-")
	if err != nil {
		return nil, fmt.Errorf("make BIRD's directory: %w", err)
	}
	path := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("write BIRD's configuration: %w", err)
	}
	b := &BIRD{host: h, socket: filepath.Join(dir, "bird.ctl")}
	if b.Process, err = h.Start("bird", append([]string{"-f", "-c", path, "-s", b.socket, "-P", filepath.Join(dir, "bird.pid")}, args...)...); err != nil {
		return nil, err
	}
	return b, b.Wait(ctx, "BIRD to answer", func() error {
		_, err := b.Ctl(ctx, "show", "status")
		return err
	})
}

// Ctl runs one command of birdc(8) and returns what it wrote.
func (b *BIRD) Ctl(ctx context.Context, command ...string) (string, error) {
	return b.host.Run(ctx, "birdc", append([]string{"-s", b.socket}, command...)...)
}

var imported = regexp.MustCompile(`Routes:\s+(\d+) imported`)

// Imported is how many routes of all families BIRD has from one of its protocols. It does not count them, so that it can be asked
// often.
func (b *BIRD) Imported(ctx context.Context, protocol string) (n int, err error) {
	out, err := b.Ctl(ctx, "show", "protocols", "all", protocol)
	for _, m := range imported.FindAllStringSubmatch(out, -1) {
		routes, _ := strconv.Atoi(m[1]) // it is digits
		n += routes
	}
	return n, err
}

// Established says whether all of the BGP sessions of this BIRD are, and names those that are not.
func (b *BIRD) Established(ctx context.Context) error {
	out, err := b.Ctl(ctx, "show", "protocols")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "BGP" && !strings.Contains(line, "Established") {
			return fmt.Errorf("BIRD of host %s: %s", b.host.Name, strings.TrimSpace(line))
		}
	}
	return nil
}

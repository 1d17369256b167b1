//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Capture is a tcpdump that writes what an interface carries to a file.
type Capture struct {
	process *Process
	path    string
}

// Capture starts tcpdump on an interface of the host ("any" for all) and returns when it sees packets. The filter is
// pcap-filter(7)'s; empty means everything.
func (h *Host) Capture(ctx context.Context, dev string, filter ...string) (*Capture, error) {
	file, err := os.CreateTemp(h.lab.dir, h.Name+"-"+filepath.Base(dev)+"-*.pcap")
	if err != nil {
		return nil, fmt.Errorf("make the capture's file: %w", err)
	}
	file.Close()
	// -U and immediate mode: what was seen is in the file without waiting for a buffer to fill.
	args := []string{"-i", dev, "-n", "-s", "0", "-U", "--immediate-mode", "-Z", "root", "-w", file.Name()}
	p, err := h.Start("tcpdump", append(args, filter...)...)
	if err != nil {
		return nil, err
	}
	if err := p.WaitLog(ctx, "listening on"); err != nil {
		return nil, err
	}
	return &Capture{process: p, path: file.Name()}, nil
}

// Path is the pcap file; it grows while the capture runs and lives as long as the lab.
func (c *Capture) Path() string { return c.path }

// drainTime bounds how long tcpdump may take to write down what it has been given.
const drainTime = 15 * time.Second

// Stop ends the capture and returns when the file is complete: it has all that the interface carried before.
func (c *Capture) Stop() error {
	// When tcpdump is asked to end it leaves what it has not read yet. While there is something to read it does not sleep.
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	_ = WaitFor(ctx, "tcpdump to have read everything", func() error { // on a link that is never silent there is no end
		if state := c.process.state(); state != 'S' && state != 0 {
			return fmt.Errorf("it is %c", state)
		}
		return nil
	})
	if err := c.process.stop(os.Interrupt); err != nil {
		return err
	}
	if err := c.process.Err(); err != nil {
		return fmt.Errorf("capture: %w: %s", err, strings.TrimSpace(c.process.Log()))
	}
	return nil
}

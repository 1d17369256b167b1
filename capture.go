package warren

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/capture"
)

// CaptureConfig says what to capture.
type CaptureConfig struct {
	// Tunnel is its name. A template's name stands for all clients that it has, also for those that come later.
	Tunnel string
	// Side is clear, sealed or both; "" is both.
	Side string
	// Count ends the capture after so many packets, Duration after so long; 0 is never.
	Count    uint64
	Duration time.Duration
}

// CaptureReport tells of a capture that has ended.
type CaptureReport struct {
	// Written is how many packets are in the file, Dropped how many are missing, because it was not written fast enough.
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"`
	// Why it ended, in words.
	Why string `json:"why"`
}

// Why captures end.
const (
	captureStopped  = "stopped"
	captureCount    = "it has as many packets as were wanted"
	captureDuration = "it took as long as was wanted"
	captureGone     = "the tunnel was removed"
	captureLeft     = "the engine stops"
)

// captureEvery is how often a capture looks whether its tunnels have come or gone.
const captureEvery = 250 * time.Millisecond

// Capture writes a tunnel's packets to w in pcapng until ctx ends or the configuration says so, the tunnel is removed, or the
// engine stops: none of these is an error. Clear packets stand there as they are before they are sealed and after they were
// opened, sealed ones behind outer headers that are made up from what is known. Packets never wait for w: what it does not
// take in time is missing in the file and counted. What was copied before the end is written, however long w takes; where w fails
// the report, which is good with that error too, counts at least what it certainly does not have. Any number of captures may run.
func (e *Engine) Capture(ctx context.Context, cfg CaptureConfig, w io.Writer) (CaptureReport, error) {
	sides, err := cfg.sides()
	if err != nil {
		return CaptureReport{}, err
	}
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	if s == nil {
		return CaptureReport{}, ErrNotUp
	}
	if _, err := s.capturable(cfg.Tunnel); err != nil {
		return CaptureReport{}, err
	}
	begun := make(chan struct{})
	out := capture.NewWriter(&onceTapped{w, begun}, capture.Options{Count: cfg.Count, RingBytes: captureRing})
	c := &capturing{site: s, tunnel: cfg.Tunnel, tap: capture.TapTunnel(cfg.Tunnel, sides, out), on: map[uint32]bool{}}
	c.follow()
	close(begun)
	s.log.Info("capture begins", "tunnel", cfg.Tunnel, "side", cfg.Side)
	why := c.run(ctx, cfg.Duration, out.Done())
	c.end()
	err = out.Close()
	report := CaptureReport{Written: out.Stats().Written, Dropped: missing(out.Stats(), cfg.Count), Why: why}
	if err != nil {
		s.log.Warn("capture was cut off", "tunnel", cfg.Tunnel, "packets", report.Written, "missing", report.Dropped, "error", err)
		return report, err
	}
	s.log.Info("capture has ended", "tunnel", cfg.Tunnel, "packets", report.Written, "missing", report.Dropped)
	return report, nil
}

// missing is how many packets a file does not have: those that found no room, and those that were not written any more. Beyond
// the count that was wanted none is missing.
func missing(st capture.Stats, count uint64) uint64 {
	if count > 0 && st.Written == count {
		return st.Dropped
	}
	return st.Captured + st.Dropped - st.Written
}

// captureRing is how many bytes of copies each worker may be ahead of the file.
const captureRing = 4 << 20

// onceTapped writes nothing before begun is closed: who sees the file's beginning misses no packet from then on.
type onceTapped struct {
	io.Writer
	begun <-chan struct{}
}

func (h *onceTapped) Write(b []byte) (int, error) {
	<-h.begun
	return h.Writer.Write(b)
}

func (c *CaptureConfig) sides() (capture.Sides, error) {
	switch c.Side {
	case "clear":
		return capture.Sides{Clear: true}, nil
	case "sealed":
		return capture.Sides{Sealed: true}, nil
	case "both", "":
		return capture.Sides{Clear: true, Sealed: true}, nil
	}
	return capture.Sides{}, fmt.Errorf("side %q: there are clear, sealed and both", c.Side)
}

// capturable returns the indexes of the tunnels with a name, none for a template without clients.
func (s *site) capturable(name string) (indexes []uint32, err error) {
	var names []string
	known := false
	for _, t := range s.allTunnels() {
		if names = append(names, t.cfg.Name); t.cfg.Name == name {
			indexes = append(indexes, t.index)
		}
	}
	for _, t := range s.allTemplates() {
		names = append(names, t.cfg.Name)
		known = known || t.cfg.Name == name
	}
	if len(indexes) > 0 || known {
		return indexes, nil
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no tunnel %q, nor any other", name)
	}
	slices.Sort(names)
	return nil, fmt.Errorf("there is no tunnel %q; there are: %s", name, strings.Join(slices.Compact(names), " "))
}

// capturing is a capture at work. It belongs to one goroutine.
type capturing struct {
	site   *site
	tunnel string
	tap    dataplane.Tap
	on     map[uint32]bool // the tunnels that are tapped
}

// follow taps the tunnels that are new, and says whether there is anything to wait for.
func (c *capturing) follow() bool {
	indexes, err := c.site.capturable(c.tunnel)
	now := map[uint32]bool{}
	for _, i := range indexes {
		now[i] = c.on[i] || c.site.plane.AddTap(i, c.tap)
	}
	for i := range c.on {
		if !now[i] {
			c.site.plane.RemoveTap(i, c.tap)
		}
	}
	c.on = now
	return err == nil
}

// run returns why the capture ends.
func (c *capturing) run(ctx context.Context, duration time.Duration, done <-chan struct{}) (why string) {
	var over <-chan time.Time
	if duration > 0 {
		timer := time.NewTimer(duration)
		defer timer.Stop()
		over = timer.C
	}
	every := time.NewTicker(captureEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return captureStopped
		case <-over:
			return captureDuration
		case <-done: // or it failed, and then nobody asks
			return captureCount
		case <-c.site.leaving:
			return captureLeft
		case <-every.C:
			if !c.follow() {
				return captureGone
			}
		}
	}
}

func (c *capturing) end() {
	for i := range c.on {
		c.site.plane.RemoveTap(i, c.tap)
	}
}

package tun

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// paced is a moderation whose pauses are counted and last as long as they are asked to.
func paced() (m *moderation, pauses *int) {
	pauses = new(int)
	return &moderation{pause: func(d time.Duration) bool {
		*pauses++
		time.Sleep(d)
		return true
	}}, pauses
}

// looks lets a worker read n packets each time it looks, every so often, and returns how often it paused.
func looks(m *moderation, pauses *int, times, n int, every time.Duration) int {
	before := *pauses
	for range times {
		time.Sleep(every)
		m.before()
		m.took(n)
	}
	return *pauses - before
}

func TestPausesOnlyWhilePacketsAreDense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, pauses := paced()
		if got := looks(m, pauses, 1000, 7, 80*time.Microsecond); got != 0 {
			t.Errorf("%d pauses at 87,500 packets a second", got)
		}
		if got := looks(m, pauses, some/7/2, 7, 60*time.Microsecond); got != 0 {
			t.Errorf("%d pauses in the first packets after the density rose", got)
		}
		// From here on a pause gathers what came in its time.
		if got := looks(m, pauses, 200, 20, 60*time.Microsecond); got < 190 {
			t.Errorf("%d pauses in 200 looks at 125,000 packets a second", got)
		}
		// The first look still pauses, and finds less than was worth it.
		if got := looks(m, pauses, 50, 3, 60*time.Microsecond); got != 1 {
			t.Errorf("%d pauses after one that gathered 3 packets", got)
		}
	})
}

func TestPausesEndWithTheDensity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, pauses := paced()
		looks(m, pauses, 100, 20, 60*time.Microsecond)
		if *pauses == 0 {
			t.Fatal("no pause at all")
		}
		// Each gathers enough, but some are far apart: what is worth it is not dense.
		looks(m, pauses, some/10+1, 10, time.Millisecond)
		if got := looks(m, pauses, 100, 10, time.Millisecond); got != 0 {
			t.Errorf("%d pauses at 10,000 packets a second", got)
		}
	})
}

func TestNoPauseWhileMoreIsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, pauses := paced()
		looks(m, pauses, 10, drain, 100*time.Microsecond)
		if got := looks(m, pauses, 100, drain, 100*time.Microsecond); got != 0 {
			t.Errorf("%d pauses while each look found %d packets", got, drain)
		}
		// The queue is short again: the last look was a long one, the next ones are not.
		if got := looks(m, pauses, 10, drain/4, 60*time.Microsecond); got != 9 {
			t.Errorf("%d pauses in 10 looks behind a long one, want all but the first", got)
		}
	})
}

// TestRefusedPause: what was not paused before is not measured by what a pause should gather.
func TestRefusedPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := paced()
		asked := 0
		m.pause = func(time.Duration) bool { asked++; return false }
		for range 300 {
			time.Sleep(5 * time.Microsecond)
			m.before()
			m.took(1)
		}
		if want := 300 - 2*some; asked != want {
			t.Errorf("asked %d times in 300 looks, want %d: every time but while the first packets were measured", asked, want)
		}
	})
}

// TestReadPausesBeforeItLooks, and takes what came meanwhile.
func TestReadPausesBeforeItLooks(t *testing.T) {
	ns := space(t, "pace")
	d := open(t, Config{NetNS: ns, Addresses: prefixes("10.9.0.1/24"), Queues: 1})
	var c net.Conn
	in(t, ns, func() (err error) {
		c, err = net.Dial("udp", "10.9.0.2:7")
		return err
	})
	defer c.Close()
	r := d.Readers()[0].(*reader)
	for b := packet.NewBatch(arena); r.take(b) == nil && b.Len() > 0; b.Reset() { // the kernel's own: router solicitations
	}
	pauses := 0
	r.pace = moderation{dense: true, pause: func(time.Duration) bool {
		for range 5 {
			if _, err := c.Write([]byte("gathered")); err != nil {
				t.Error(err)
			}
		}
		pauses++
		return true
	}}
	b := packet.NewBatch(arena)
	if err := r.Read(b); err != nil || b.Len() < 5 || pauses != 1 || !r.pace.dense || r.pace.count != b.Len() {
		t.Errorf("%d packets after %d pauses, %v; want the 5 that came in one pause, which was worth it, and counted", b.Len(), pauses, err)
	}
}

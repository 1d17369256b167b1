//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// spent is how long processors have worked, in seconds since the machine or the processes began, by who had them work.
type spent struct {
	at time.Time
	// warren and bird are of all gateways and routers, test is this process, which sends and receives the flows, commands those
	// that it ran: ip, birdc, ping.
	warren, bird, test, commands float64
	// interrupts is what the kernel did on nobody's account, mostly packets on their way; all is the machine's, and idle what it
	// did not use.
	interrupts, all, idle float64
	// gateways are warren's, each, and switches how often its threads went to sleep.
	gateways map[gatewayID]float64
	switches map[gatewayID]float64
}

// hertz is the unit of processors' times in /proc (USER_HZ), the same on all that Go runs on.
const hertz = 100

// spent reads the accounts of the laboratory.
func (s *sites) spent() spent {
	s.t.Helper()
	now := spent{at: time.Now(), gateways: map[gatewayID]float64{}, switches: map[gatewayID]float64{}}
	for id, g := range s.gateways {
		own, _ := s.processTime(g.warren.PID())
		now.gateways[id] = s.ended[id] + own
		now.warren += now.gateways[id]
		now.switches[id] = switches(g.warren.PID())
		own, _ = s.processTime(g.bird.PID())
		now.bird += own
	}
	for _, r := range s.routers {
		own, _ := s.processTime(r.bird.PID())
		now.bird += own
	}
	now.test, now.commands = s.processTime(os.Getpid())
	for _, ended := range s.ended { // children, too
		now.commands -= ended
	}
	text, err := os.ReadFile("/proc/stat")
	s.must(err)
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line)[1:] {
		v, err := strconv.ParseFloat(f, 64)
		s.must(err)
		switch i {
		case 3, 4: // idle, and waiting for a disk
			now.idle += v / hertz
		case 5, 6: // hard and soft
			now.interrupts += v / hertz
			now.all += v / hertz
		case 8, 9: // guests are part of user
		default:
			now.all += v / hertz
		}
	}
	return now
}

// processTime is that of a process, and of all its children which have ended. Both are 0 of a process that has ended.
func (s *sites) processTime(pid int) (own, children float64) {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // of the name
	f := strings.Fields(rest)
	at := func(field int) float64 { // as proc(5) numbers them
		v, err := strconv.ParseFloat(f[field-3], 64)
		s.must(err)
		return v / hertz
	}
	return at(14) + at(15), at(16) + at(17)
}

// switches is how often the threads of a process have gone to sleep or were put to it.
func switches(pid int) (n float64) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid)) // the pattern is a good one
	for _, f := range files {
		text, _ := os.ReadFile(f) // a thread that has ended has none
		for line := range strings.Lines(string(text)) {
			if name, v, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "voluntary_ctxt_switches") {
				count, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
				n += count
			}
		}
	}
	return n
}

// maxSwitches is how often a second the threads of a gateway may go to sleep that has nothing to do but BFD, over 183 packets. 260 to
// 370 are usual; 700 to 1,000 it is if workers keep their processors while they sleep, and 3,000 if each session sends by itself, too.
const maxSwitches = 650

// rests sees that gateways without traffic do next to nothing. A machine that stands still, or on which others work, has them do more, and
// so each of them is to rest in one of several times.
func (s *sites) rests(ctx context.Context) {
	s.t.Helper()
	least := map[gatewayID]float64{}
	for try := 1; ; try++ {
		before := s.spent()
		s.settle(ctx, *sitesWatch)
		now := s.spent()
		s.t.Log("without flows: ", now.since(before))
		busy := 0
		for id, n := range now.switches {
			rate := (n - before.switches[id]) / now.at.Sub(before.at).Seconds()
			if old, ok := least[id]; !ok || rate < old {
				least[id] = rate
			}
			if least[id] > maxSwitches {
				busy++
			}
		}
		if busy == 0 {
			return
		}
		if try == restTries {
			s.t.Errorf("gateways that have nothing to do, and whose threads go to sleep more often than %d times a second: %v", maxSwitches, least)
			return
		}
	}
}

// restTries is how often gateways may show that they rest.
const restTries = 8

// load is the machine's in the meantime, of all its processors, from 0 to 1.
func (now spent) load(before spent) float64 {
	worked, idle := now.all-before.all, now.idle-before.idle
	return worked / max(1./hertz, worked+idle)
}

// since says who used the processors since before, in milliseconds a second.
func (now spent) since(before spent) string {
	seconds := now.at.Sub(before.at).Seconds()
	rate := func(now, before float64) float64 { return 1000 * (now - before) / seconds }
	all := rate(now.all, before.all)
	ours := rate(now.warren, before.warren) + rate(now.bird, before.bird) + rate(now.test, before.test) +
		rate(now.commands, before.commands) + rate(now.interrupts, before.interrupts)
	var each strings.Builder
	for _, id := range allGateways() {
		fmt.Fprintf(&each, " %.1f", rate(now.gateways[id], before.gateways[id]))
		if n := now.switches[id] - before.switches[id]; n > 0 { // it is the same process
			fmt.Fprintf(&each, " (%.0f switches)", n/seconds)
		}
	}
	return fmt.Sprintf("ms of processors in each of %.1f s: gateways %.0f (%s), BIRDs %.0f, this test %.0f, commands %.0f, interrupts %.0f, others %.0f; load %.0f %%",
		seconds, rate(now.warren, before.warren), strings.TrimSpace(each.String()), rate(now.bird, before.bird), rate(now.test, before.test),
		rate(now.commands, before.commands), rate(now.interrupts, before.interrupts), all-ours, 100*now.load(before))
}

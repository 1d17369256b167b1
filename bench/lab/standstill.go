//go:build linux

package lab

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Standstill is how long a processor may leave threads that are ready to run waiting before what is measured meanwhile says nothing:
// others can take the processor away from a virtual machine for seconds.
const Standstill = 100 * time.Millisecond

// Standstills watches whether the machine stands still, all of it or one of its processors.
type Standstills struct {
	mu   sync.Mutex
	seen []standstill
	// last is when each of the watched looked at the clock for the last time.
	last map[int]time.Time

	ended   atomic.Bool
	running sync.WaitGroup
}

// A standstill is a time in which a processor did nothing for us.
type standstill struct{ from, to time.Time }

// WatchStandstills watches each processor until Close.
func WatchStandstills() (*Standstills, error) {
	var ours unix.CPUSet
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		return nil, fmt.Errorf("ask for our processors: %w", err)
	}
	s := &Standstills{last: map[int]time.Time{}}
	for cpu := range len(ours) * 64 {
		if ours.IsSet(cpu) {
			s.last[cpu] = time.Now()
		}
	}
	for cpu := range len(ours) * 64 {
		if ours.IsSet(cpu) {
			s.running.Go(func() { s.watch(cpu, &ours) })
		}
	}
	return s, nil
}

// watch looks at the clock again and again, on a thread that runs on one processor only.
func (s *Standstills) watch(cpu int, ours *unix.CPUSet) {
	// The thread is given back as it was: it must not end, since with it those end whom it has started.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var one unix.CPUSet
	one.Set(cpu)
	if unix.SchedSetaffinity(0, &one) == nil { // or else it watches whatever it runs on
		defer func() { _ = unix.SchedSetaffinity(0, ours) }()
	}
	nap := unix.NsecToTimespec(int64(10 * time.Millisecond))
	for !s.ended.Load() {
		_ = unix.Nanosleep(&nap, nil) // shorter where a signal ends it
		s.mu.Lock()
		now := time.Now()
		if last := s.last[cpu]; now.Sub(last) > Standstill {
			s.seen = append(s.seen, standstill{last, now})
		}
		s.last[cpu] = now
		s.mu.Unlock()
	}
}

// Longest is how long the machine stood still at a stretch, between two times or partly between them; 0 for less than [Standstill].
func (s *Standstills) Longest(from, to time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.seen
	for _, last := range s.last { // who has not looked again yet stands still, unless it is over
		if now := time.Now(); !s.ended.Load() && now.Sub(last) > Standstill {
			all = append(slices.Clip(all), standstill{last, now})
		}
	}
	for _, one := range all {
		if one.to.After(from) && one.from.Before(to) {
			longest = max(longest, one.to.Sub(one.from))
		}
	}
	return longest
}

// Close ends it. What was seen stays.
func (s *Standstills) Close() {
	s.ended.Store(true)
	s.running.Wait()
}

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// figures are what one round gave: seconds, and MB of a million octets.
type figures struct {
	learned, learnedCPU         float64
	resident, residentPeak      float64
	sent, sentCPU, sentResident float64
	withdrawn, withdrawnCPU     float64
	senderCPU                   float64 // BIRD's, for the same as learnedCPU
}

// patience is how long a step may take before the round fails.
const patience = 2 * time.Minute

// round starts everything anew and measures it: a table learned, told to another, and withdrawn.
func round(ctx context.Context, w *world, program string) (f figures, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*patience)
	defer cancel()
	s, err := newSite(ctx, w, program)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	before, err := s.vrfRoutes(ctx)
	if err != nil {
		return f, err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context, *world, int, *figures) error
	}{{"learn", s.learn}, {"send", s.send}, {"withdraw", s.withdraw}} {
		ctx, cancel := context.WithTimeout(ctx, patience)
		if err = step.do(ctx, w, before, &f); err != nil {
			err = fmt.Errorf("%s: %w", step.name, err)
		}
		cancel()
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// learn measures from Established until all routes are in the fib.
func (s *site) learn(ctx context.Context, w *world, before int, f *figures) error {
	cpu, err := s.cpu(&f.learnedCPU)
	if err != nil {
		return err
	}
	birdCPU, err := cpuTime(s.sender.Process)
	if err != nil {
		return err
	}
	if _, err := s.sender.Ctl(ctx, "enable", "warren"); err != nil {
		return err
	}
	since, err := s.established(ctx, "sender")
	if err != nil {
		return err
	}
	if err := s.untilRoutes(ctx, before+len(w.prefixes)); err != nil {
		return err
	}
	f.learned = time.Since(since).Seconds()
	if err := cpu(); err != nil {
		return err
	}
	after, err := cpuTime(s.sender.Process)
	if err != nil {
		return err
	}
	f.senderCPU = (after - birdCPU).Seconds()
	now, most, err := memory(s.warren)
	f.resident, f.residentPeak = float64(now)/1e6, float64(most)/1e6
	return err
}

// send measures from Established until the other BIRD has all routes.
func (s *site) send(ctx context.Context, w *world, _ int, f *figures) error {
	cpu, err := s.cpu(&f.sentCPU)
	if err != nil {
		return err
	}
	if _, err := s.taker.Ctl(ctx, "enable", "warren"); err != nil {
		return err
	}
	since, err := s.established(ctx, "taker")
	if err != nil {
		return err
	}
	err = s.warren.Wait(ctx, "warren's routes in BIRD", func() error {
		n, err := s.taker.Imported(ctx, "warren")
		if err == nil && n < len(w.prefixes) {
			err = fmt.Errorf("%d of %d", n, len(w.prefixes))
		}
		return err
	})
	f.sent = time.Since(since).Seconds()
	if err != nil {
		return err
	}
	now, _, err := memory(s.warren)
	f.sentResident = float64(now) / 1e6
	return errors.Join(err, cpu())
}

// withdraw measures from the moment at which BIRD loses its routes until they are out of the fib again. Warren has no other
// neighbour then.
func (s *site) withdraw(ctx context.Context, _ *world, before int, f *figures) error {
	if _, err := s.taker.Ctl(ctx, "disable", "warren"); err != nil {
		return err
	}
	cpu, err := s.cpu(&f.withdrawnCPU)
	if err != nil {
		return err
	}
	start := time.Now()
	for _, family := range []string{"s4", "s6"} {
		if _, err := s.sender.Ctl(ctx, "disable", family); err != nil {
			return err
		}
	}
	if err := s.untilRoutes(ctx, before); err != nil {
		return err
	}
	f.withdrawn = time.Since(start).Seconds()
	return cpu()
}

// cpu begins to count warren's CPU time; what it returns ends that.
func (s *site) cpu(into *float64) (end func() error, err error) {
	before, err := cpuTime(s.warren)
	return func() error {
		after, err := cpuTime(s.warren)
		*into = (after - before).Seconds()
		return err
	}, err
}

// established waits for a session and returns when it came about.
func (s *site) established(ctx context.Context, name string) (since time.Time, err error) {
	err = s.warren.Wait(ctx, "the session with "+name, func() error {
		all, err := s.client.Neighbors(ctx)
		for _, n := range all {
			if n.Name == name && n.State == "Established" {
				since = n.Since
				return nil
			}
		}
		return errors.Join(err, errors.New("not established"))
	})
	return since, err
}

// untilRoutes waits until the fib has exactly so many.
func (s *site) untilRoutes(ctx context.Context, want int) error {
	return s.warren.Wait(ctx, fmt.Sprintf("%d routes", want), func() error {
		n, err := s.vrfRoutes(ctx)
		if err == nil && n != want {
			err = fmt.Errorf("%d of %d", n, want)
		}
		return err
	})
}

func (s *site) vrfRoutes(ctx context.Context) (int, error) {
	st, err := s.client.Status(ctx)
	if err != nil {
		return 0, err
	}
	if len(st.VRFs) != 1 {
		return 0, fmt.Errorf("%d vrfs, want 1", len(st.VRFs))
	}
	return st.VRFs[0].Routes, nil
}

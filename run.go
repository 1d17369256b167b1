package warren

import (
	"context"
	"errors"
	"sync"
)

// run runs all parts of the site until ctx ends or one of them fails. Packets move until the others have left.
func (s *site) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Control goes on while the engine leaves, and packets longer still.
	control, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	defer stopControl()
	packets, stopPackets := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPackets()

	var moving, controlling sync.WaitGroup
	var failed, failedControl error
	moving.Go(func() {
		defer cancel()
		failed = s.plane.Run(packets)
	})
	part := func(run func(context.Context) error) {
		controlling.Go(func() {
			if err := run(control); err != nil && control.Err() == nil {
				s.mu.Lock()
				failedControl = errors.Join(failedControl, err)
				s.mu.Unlock()
				cancel()
			}
		})
	}
	s.begin(part)
	s.changing.Lock()
	s.part = part
	s.changing.Unlock()
	close(s.begun)
	select {
	case <-ctx.Done():
	case <-s.handing:
	}
	close(s.leaving)
	s.changing.Lock() // what is being applied is applied first
	s.part = nil
	s.changing.Unlock()
	s.takeLeave(packets)
	stopControl()
	controlling.Wait()
	stopPackets()
	moving.Wait()
	return errors.Join(failed, failedControl)
}

// begin starts the parts of a site that was built.
func (s *site) begin(part func(run func(context.Context) error)) {
	part(func(ctx context.Context) error { s.tick(ctx); return nil })
	kernels := s.kernels
	part(func(ctx context.Context) error { return s.runKernels(ctx, kernels) })
	if s.keying != nil {
		part(s.keying.run)
		if s.inherited != nil {
			part(s.expectSAs)
		}
	}
	for _, d := range s.wireguard {
		part(d.run)
	}
	for _, v := range s.vrfs {
		if v.speaker != nil {
			part(func(ctx context.Context) error {
				s.awaitKernels(ctx)
				return v.speaker.Run(ctx)
			})
		}
		if w := v.watch.Load(); w != nil {
			part(w.run)
		}
	}
	s.forwards.start()
}

// takeLeave ends forwards, and takes the site's routes and SAs back or hands it over, while control and packets go on.
func (s *site) takeLeave(ctx context.Context) {
	s.forwards.leave() // while peers can still be told
	if s.handsOver() {
		s.handOver(ctx)
		return
	}
	s.leave()
	if s.keying != nil {
		s.keying.leave(ctx)
	}
}

package bgp

import (
	"context"
	"errors"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

var errNoSession = errors.New("the session is not established")

// command runs f in the goroutine of a neighbour and returns when it has run, and Status shows what came of it.
func (s *Speaker) command(name string, f func(p *peer, now time.Time)) error {
	r, err := s.byName(name)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	if !r.do(func(now time.Time) { defer close(done); f(r.peer, now); r.obey() }) {
		return errEnded
	}
	<-done
	return nil
}

// PathDown says that the way to a neighbour is dead, as its tunnel or BFD knows sooner than a hold timer.
func (s *Speaker) PathDown(name string, why error) error {
	return s.command(name, func(p *peer, now time.Time) { p.machine.PathDown(now, why) })
}

// PathUp says that there is a way to a neighbour again, so that it is worth trying at once, unless that has just been done.
func (s *Speaker) PathUp(name string) error {
	return s.command(name, func(p *peer, now time.Time) { p.machine.PathUp(now) })
}

// Disable ends the session with a neighbour and begins no other; the text, for people, goes to the neighbour (RFC 9003).
func (s *Speaker) Disable(name, text string) error {
	return s.command(name, func(p *peer, now time.Time) {
		p.machine.Stop(now, Shutdown(message.CeaseAdminShutdown, text))
	})
}

// Enable undoes Disable.
func (s *Speaker) Enable(name string) error {
	return s.command(name, func(p *peer, now time.Time) { p.machine.Start(now) })
}

// Reset ends the session with a neighbour and begins another.
func (s *Speaker) Reset(name, text string) error {
	return s.command(name, func(p *peer, now time.Time) {
		p.machine.Stop(now, Shutdown(message.CeaseAdminReset, text))
		p.machine.Start(now)
	})
}

// Refresh asks a neighbour to announce a family again, as after a change of the import policy (RFC 2918).
func (s *Speaker) Refresh(name string, f message.Family) error {
	var refused error
	err := s.command(name, func(p *peer, now time.Time) { refused = p.machine.Refresh(now, f) })
	return errors.Join(err, refused)
}

// Leave leaves politely: everything is withdrawn from all neighbours, which have the time of drain to find other ways while
// packets are still forwarded; then the sessions end with Administrative Shutdown and text. It returns early when ctx ends.
// Run goes on, with its neighbours in Idle, until its own context ends.
func (s *Speaker) Leave(ctx context.Context, text string, drain time.Duration) {
	t := time.NewTimer(drain)
	defer t.Stop()
	for _, gone := range s.withdraw() {
		select {
		case <-gone:
		case <-ctx.Done():
		case <-t.C:
			t.Reset(0) // the time is over for the others too
		}
	}
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	s.stopAll(Shutdown(message.CeaseAdminShutdown, text))
}

// HandOver ends all sessions without a word, so that neighbours that were asked to with RestartTime keep our routes for the
// process that comes next.
func (s *Speaker) HandOver() { s.stopAll(nil) }

// withdraw withdraws everything; each channel is closed when a neighbour was told, or is gone.
func (s *Speaker) withdraw() (gone []<-chan struct{}) {
	for _, r := range s.all() {
		var left <-chan struct{}
		err := s.command(r.neighbor.Name, func(p *peer, now time.Time) {
			if p.session != nil {
				left = p.session.out.leave()
			}
		})
		if err == nil && left != nil {
			gone = append(gone, left)
		}
	}
	return gone
}

func (s *Speaker) stopAll(reason *message.NotificationError) {
	for _, r := range s.all() {
		r.mu.Lock()
		r.reason = reason
		r.mu.Unlock()
		// An error says that the peer has ended already.
		_ = s.command(r.neighbor.Name, func(p *peer, now time.Time) { p.machine.Stop(now, reason) })
	}
}

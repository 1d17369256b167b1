package warren

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

const (
	// lookupEvery is how long to wait between look-ups of a name while there is no answer from there.
	lookupEvery = 30 * time.Second
	// lookupFirst is how long to wait after the first look-up that failed; then it doubles.
	lookupFirst = time.Second
	// lookupTimeout bounds a look-up.
	lookupTimeout = 10 * time.Second
	// silentAfter is how long there is a session behind a handshake (the paper's section 6.1).
	silentAfter = handshake.RejectAfterTime
	// initiateEvery is how often a peer that did not answer is given another RekeyAttemptTime, although nothing is routed to it.
	initiateEvery = handshake.RekeyAttemptTime
)

// peerWatch is what a device that watches a peer knows of it. It is the tunnel's, so that it goes with it.
type peerWatch struct {
	// tried is when the peer was last asked for a session although it is left.
	tried time.Time
	// busy says that the endpoint's name is being looked up: the other fields belong to the goroutine that does.
	busy atomic.Bool
	// of is what is looked up.
	of    EndpointConfig
	retry time.Duration
	due   time.Time // zero is at once
	found bool
}

// lookUpDue says whether to look up the endpoint's name now, if it has one: a caller that is told so must call lookUp.
func (t *tunnel) lookUpDue(now time.Time) bool {
	w := &t.watched
	if t.expected().Name == "" || !w.busy.CompareAndSwap(false, true) {
		return false
	}
	w.expect(*t.expected())
	due := w.of.Name != "" && !now.Before(w.due)
	w.busy.Store(due)
	return due
}

// expect begins anew where another name is to be looked up.
func (w *peerWatch) expect(e EndpointConfig) {
	if e != w.of {
		w.of, w.found, w.retry, w.due = e, false, 0, time.Time{}
	}
}

// watch looks up names, again while the peer does not answer, and tries peers that are left for not answering.
func (d *wgDevice) watch(ctx context.Context) {
	var lookups sync.WaitGroup
	defer lookups.Wait()
	every := time.NewTicker(500 * time.Millisecond)
	defer every.Stop()
	for {
		now := time.Now()
		for _, t := range d.tunnels() {
			d.retry(t, now)
			if t.lookUpDue(now) {
				lookups.Go(func() { d.lookUp(ctx, t, now) }) // a resolver may be slow
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// tunnels are the peers' of this moment.
func (d *wgDevice) tunnels() []*tunnel {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*tunnel, 0, len(d.peers))
	for _, t := range d.peers {
		all = append(all, t)
	}
	return all
}

// retry asks for a session with a peer that is left, since no packet comes to ask for it.
func (d *wgDevice) retry(t *tunnel, now time.Time) {
	if slices.Contains(t.whyDead(), notAnswering) && now.Sub(t.watched.tried) >= initiateEvery {
		t.watched.tried = now
		t.peer.Initiate()
	}
}

// lookUp looks up a name that has not been found yet, or whose peer does not answer.
func (d *wgDevice) lookUp(ctx context.Context, t *tunnel, now time.Time) {
	w := &t.watched
	defer w.busy.Store(false)
	e := w.of
	st := t.peer.Status()
	if w.found && (st.State == wireguard.Up || st.State == wireguard.Idle && st.Waiting == 0 && now.Sub(st.LastHandshake) < silentAfter) {
		w.due = now.Add(lookupEvery)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := d.lookup(ctx, e.Name)
	if err == nil {
		addrs = d.reachable(addrs)
	}
	if err != nil || len(addrs) == 0 {
		w.retry = min(lookupEvery, max(lookupFirst, 2*w.retry))
		w.due = now.Add(w.retry)
		if ctx.Err() == nil {
			d.log.Warn("endpoint cannot be found", "tunnel", t.cfg.Name, "name", e.Name, "again_in", w.retry, "error", err)
		}
		return
	}
	w.found, w.retry, w.due = true, 0, now.Add(lookupEvery)
	d.mu.Lock()
	defer d.mu.Unlock()
	if *t.expected() != e {
		return // it was changed meanwhile
	}
	if at := netip.AddrPortFrom(addrs[0], e.Port); !slices.Contains(addrs, st.Endpoint.Addr()) || st.Endpoint.Port() != e.Port {
		d.log.Info("endpoint is looked up", "tunnel", t.cfg.Name, "name", e.Name, "address", at)
		t.peer.SetEndpoint(at)
	}
}

// LookupFunc finds the addresses that a name has.
type LookupFunc func(ctx context.Context, name string) ([]netip.Addr, error)

// WithLookup makes the engine look up the endpoints of WireGuard's peers there, rather than by the system's resolver.
func WithLookup(f LookupFunc) Option { return func(e *Engine) { e.lookup = f } }

// systemLookup asks the servers that the system is configured to ask, with packets that bear a mark unless it is 0: where policy
// routing leads everything else into the tunnels, those of the resolver must not go there too.
func systemLookup(mark uint32) LookupFunc {
	resolver := net.DefaultResolver
	if mark != 0 {
		dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
			failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)) })
			return errors.Join(failed, err)
		}}
		resolver = &net.Resolver{PreferGo: true, Dial: dialer.DialContext}
	}
	return func(ctx context.Context, name string) ([]netip.Addr, error) {
		return resolver.LookupNetIP(ctx, "ip", name)
	}
}

// reachable are the addresses of a family that there is a socket for.
func (d *wgDevice) reachable(addrs []netip.Addr) (some []netip.Addr) {
	sockets := d.sockets()
	for _, a := range addrs {
		a = a.Unmap()
		if slices.ContainsFunc(sockets, func(u dataplane.Underlay) bool { return u.Encap().IPv6 == a.Is6() }) {
			some = append(some, a)
		}
	}
	return some
}

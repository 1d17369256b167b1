package handshake

import (
	"net/netip"
	"sync"
	"time"
)

const (
	limitEvery = time.Second / 20 // one handshake message of an address
	limitBurst = 5 * limitEvery
	limitAddrs = 1 << 14
)

// A limiter lets an address that has proved itself by a cookie send 20 handshake messages a second, 5 at once. Addresses of
// IPv6 count by their /64, since that is what one host has. It may be used from any goroutine. (The ratelimiter package of
// wireguard-go keeps a goroutine and reads the clock.)
type limiter struct {
	mu    sync.Mutex
	full  map[netip.Addr]time.Time // when the address will have all of its burst again
	swept time.Time
}

func (l *limiter) allow(now time.Time, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, err := a.Prefix(64)
		if err != nil {
			return false
		}
		a = p.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	full, known := l.full[a]
	if !known && len(l.full) >= limitAddrs {
		return false
	}
	if full.Before(now) {
		full = now
	}
	full = full.Add(limitEvery)
	if full.Sub(now) > limitBurst {
		return false
	}
	if l.full == nil {
		l.full = make(map[netip.Addr]time.Time)
	}
	l.full[a] = full
	return true
}

// sweep forgets those who have all of their burst, at most once a second.
func (l *limiter) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for a, full := range l.full {
		if !full.After(now) {
			delete(l.full, a)
		}
	}
}

package bgp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// PeerError is the reason for an end that the neighbour gave.
type PeerError struct{ Notification *message.NotificationError }

// Error says what the neighbour said.
func (e *PeerError) Error() string { return fmt.Sprintf("the neighbor closed: %v", e.Notification) }

// Unwrap returns the notification.
func (e *PeerError) Unwrap() error { return e.Notification }

// Shutdown is the reason for a Stop: subcode is one of message.CeaseAdminShutdown, CeaseAdminReset, CeasePeerDeconfigured
// and CeaseConfigurationChange; the text, for the people at the neighbour, goes with the first two (RFC 9003).
func Shutdown(subcode uint8, text string) *message.NotificationError {
	n := notify(message.CodeCease, subcode, nil)
	if text != "" && (subcode == message.CeaseAdminShutdown || subcode == message.CeaseAdminReset) {
		n.Data = message.ShutdownData(text)
	}
	return n
}

func notify(code, subcode uint8, data []byte) *message.NotificationError {
	return &message.NotificationError{Code: code, Subcode: subcode, Data: data}
}

func collision() *message.NotificationError {
	return notify(message.CodeCease, message.CeaseCollision, nil)
}

// tooMany is the NOTIFICATION of RFC 4486 section 4.
func tooMany(f message.Family, limit int) *message.NotificationError {
	data := append(binary.BigEndian.AppendUint16(nil, f.AFI()), f.SAFI())
	return notify(message.CodeCease, message.CeaseMaxPrefixes, binary.BigEndian.AppendUint32(data, uint32(limit)))
}

// outcome says how to go on after a connection ended.
type outcome uint8

const (
	loss  outcome = iota // connect again, with the retry timer
	fault                // an error that is likely to come again: stay in Idle for a while
)

// gravity says how to go on after a NOTIFICATION from the neighbour. Most Ceases, and timers, say nothing against a new
// session soon.
func gravity(n *message.NotificationError) outcome {
	switch n.Code {
	case message.CodeHoldTimerExpired, message.CodeSendHoldTimerExpired:
		return loss
	case message.CodeCease:
		switch n.Subcode {
		case message.CeaseMaxPrefixes, message.CeasePeerDeconfigured, message.CeaseOutOfResources:
			return fault
		}
		return loss
	}
	return fault
}

func (m *Machine) dial() {
	c := m.connection(true)
	c.hold = m.now.Add(m.neighbor.Timers.Connect)
	m.do(Dial{c.id})
	m.become(c, Connect, nil)
}

// open sends our OPEN on a connection that is there.
func (m *Machine) open(c *conn) {
	m.send(c, m.ourOpen().Append(nil))
	c.hold = m.now.Add(m.neighbor.Timers.InitialHold)
	m.become(c, OpenSent, nil)
}

func (m *Machine) send(c *conn, msg []byte) { m.do(Send{c.id, msg}) }

// end ends a connection and says how to go on without it.
func (m *Machine) end(c *conn, why error, n *message.NotificationError, o outcome) {
	m.drop(c, why, n)
	m.settle(o, why)
}

// fail is the end for an error of the neighbour; a NOTIFICATION says which.
func (m *Machine) fail(c *conn, why error, n *message.NotificationError) { m.end(c, why, n, fault) }

// lose is the end of a connection that nobody wanted.
func (m *Machine) lose(c *conn, why error) { m.end(c, why, nil, loss) }

// abandon ends all connections.
func (m *Machine) abandon(why error, n *message.NotificationError) {
	for _, c := range slices.Clone(m.conns) {
		if c.state == Connect {
			m.drop(c, why, nil)
		} else {
			m.drop(c, why, n)
		}
	}
}

// drop closes one connection, and leaves the state of the whole to who calls.
func (m *Machine) drop(c *conn, why error, n *message.NotificationError) {
	if n != nil {
		m.send(c, message.AppendNotification(nil, n.Code, n.Subcode, n.Data))
	}
	m.do(Close{c.id})
	m.conns = slices.DeleteFunc(m.conns, func(each *conn) bool { return each == c })
	if c.state != Established {
		return
	}
	if m.now.Sub(c.since) > max(m.retryWait, m.idleWait) {
		m.retryWait, m.idleWait = 0, 0
	}
	m.forget() // RFC 4724 section 4.2: what is stale from the restart before this one is not kept again
	// Only a connection that just ended is a restart; a NOTIFICATION, of either side, is not (RFC 4724 section 4).
	if _, told := why.(*PeerError); !told && n == nil && m.started && c.deal.Kept != 0 {
		m.stale, m.staleUntil = c.deal.Kept, m.now.Add(c.deal.RestartTime)
	}
	m.do(Down{why, m.stale})
}

// settle is what comes after the end of a connection: nothing while there is another.
func (m *Machine) settle(o outcome, why error) {
	t := &m.neighbor.Timers
	switch {
	case len(m.conns) > 0:
		m.become(m.conns[0], m.conns[0].state, why)
	case !m.started:
		m.waiting = time.Time{}
		m.become(nil, Idle, why)
	case o == fault:
		m.idleWait = min(max(2*m.idleWait, t.IdleHold), t.MaxIdleHold)
		m.waiting = m.now.Add(m.jitter(m.idleWait))
		m.become(nil, Idle, why)
	default:
		m.retryWait = min(max(2*m.retryWait, t.Retry), t.ConnectRetry)
		m.waiting = time.Time{}
		if !m.neighbor.Passive {
			m.waiting = m.now.Add(m.jitter(m.retryWait))
		}
		m.become(nil, Active, why)
	}
}

// jitter shortens a time by up to a quarter (RFC 4271 section 10).
func (m *Machine) jitter(d time.Duration) time.Duration {
	return d - time.Duration(m.rand.Int64N(int64(d)/4+1))
}

// resolveCollision decides, with the neighbour's OPEN on c, between it and another connection (RFC 4271 section 6.8, RFC 6286
// section 2.3), and says whether c stays. Of two that are in OpenConfirm that one stays which the side with the higher
// identifier dialled. A session stays, unless the neighbour began c while we had it: it must have forgotten the session.
func (m *Machine) resolveCollision(c *conn) bool {
	for _, other := range slices.Clone(m.conns) {
		switch {
		case other == c || other.state < OpenConfirm:
			continue
		case other.state == Established && c.rival:
			m.drop(other, errReplaced, nil)
			continue
		}
		loser := c
		if other.state == OpenConfirm && c.dialled == m.higher(c.deal.Open) {
			loser = other
		}
		m.drop(loser, ErrCollision, collision())
		if loser == c {
			m.settle(loss, ErrCollision)
			return false
		}
	}
	return true
}

// higher says whether our identifier is the higher one.
func (m *Machine) higher(o *message.OpenMessage) bool {
	if m.local.RouterID != o.RouterID {
		return m.local.RouterID > o.RouterID
	}
	return m.neighbor.localAS(m.local) > o.AS
}

// resumed looks at what is stale when a session is Established again: families whose forwarding the neighbour did not keep
// go at once, the others when it has announced all it has, or after a time (RFC 4724 section 4.2). Where it is us who come back,
// and the neighbour has not restarted too, it has kept all.
func (m *Machine) resumed(deal *Negotiated, ours bool) {
	if m.stale == 0 {
		return
	}
	var still message.Families
	g := deal.Open.Graceful
	if ours && (g == nil || !g.Restarting) {
		still = m.stale.Intersect(deal.Families)
	} else if g != nil {
		for _, f := range g.Families {
			if f.Forwarding && m.stale.Has(f.Family) && deal.Families.Has(f.Family) {
				still |= message.FamiliesOf(f.Family)
			}
		}
	}
	for _, f := range (m.stale &^ still).List() {
		m.do(Sweep{f})
	}
	m.stale, m.staleUntil = still, time.Time{}
	if still != 0 {
		m.staleUntil = m.now.Add(m.neighbor.maxStale())
	}
}

func (m *Machine) endOfRIB(f message.Family) {
	m.do(EndOfRIB{f})
	if m.stale.Has(f) {
		m.do(Sweep{f})
		if m.stale &^= message.FamiliesOf(f); m.stale == 0 {
			m.staleUntil = time.Time{}
		}
	}
}

// forget sweeps all that is stale.
func (m *Machine) forget() {
	for _, f := range m.stale.List() {
		m.do(Sweep{f})
	}
	m.stale, m.staleUntil = 0, time.Time{}
}

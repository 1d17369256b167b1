package bgp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/warrenvpn/warren/internal/deadline"
	"github.com/warrenvpn/warren/routing/bgp/message"
)

// A Machine is the session with one neighbour: RFC 4271 section 8 with the collision detection of section 6.8, so that for
// a moment it may have two connections, one that it dialled and one that it accepted, of which one at most becomes the
// session. It has no sockets, goroutines or clock: its methods take what happened and when, Actions says what is to be done.
// Methods are called by one goroutine at a time, with times that do not go back.
type Machine struct {
	local    Local
	neighbor *Neighbor
	rand     *rand.Rand

	now     time.Time
	state   State // of the whole: that of the connection that has come furthest
	started bool
	conns   []*conn // at most one dialled and one accepted, and a third while it challenges a session
	last    ConnID

	// waiting is when Active dials again, or when Idle starts again; zero is never.
	waiting             time.Time
	retryWait, idleWait time.Duration
	// hastened is when PathUp last ended a wait, or will; hasteWait is for how long then it ends no other.
	hastened  time.Time
	hasteWait time.Duration

	// stale are the families that are kept for a neighbour that restarts, until staleUntil.
	stale      message.Families
	staleUntil time.Time
	// resuming says that our own restart has not ended: no session was Established yet (RFC 4724 section 4.1).
	resuming bool
	warned   message.Families // families whose prefix limit was warned of in this session

	update  message.Update
	actions []Action
	given   []Action // by Actions, and free when it is called again
}

// conn is a connection, or the attempt of one: the part of RFC 4271's FSM that each connection has for itself.
type conn struct {
	id       ConnID
	dialled  bool
	state    State // Connect, OpenSent, OpenConfirm or Established
	deal     *Negotiated
	since    time.Time // when Established
	rival    bool      // accepted while there was a session: its OPEN ends that
	hold     time.Time // in Connect: when the attempt is given up
	alive    time.Time // when the next KEEPALIVE is due
	sendHold time.Time
}

// NewMachine is the session with a neighbour whose configuration passed its Check. Nothing happens before Start. rnd is for the
// jitter of timers.
func NewMachine(local Local, n *Neighbor, rnd *rand.Rand) *Machine {
	return &Machine{local: local, neighbor: n, rand: rnd, resuming: local.Resumed}
}

// State is the state of the session.
func (m *Machine) State() State { return m.state }

// Actions returns what is to be done since it was last called, in this order. The slice is valid until the next call.
func (m *Machine) Actions() []Action {
	clear(m.given)
	m.actions, m.given = m.given[:0], m.actions
	return m.given
}

func (m *Machine) do(a Action) { m.actions = append(m.actions, a) }

// Start begins to connect, at once.
func (m *Machine) Start(now time.Time) {
	m.now = now
	if !m.started {
		m.started = true
		m.idle(event{kind: start})
	}
}

// Stop ends the session and stays in Idle until Start. The neighbour is told: reason is a NOTIFICATION as Shutdown makes it.
// With nil it is not: the connection just ends, and a neighbour that was asked to with RestartTime keeps our routes for the
// process that comes after us.
func (m *Machine) Stop(now time.Time, reason *message.NotificationError) {
	m.now = now
	m.started = false
	why := ErrStopped
	if reason != nil {
		why = fmt.Errorf("%w: %w", ErrStopped, reason)
	}
	m.abandon(why, reason)
	m.forget()
	m.settle(fault, why)
}

// Keep says that the process before this one has left routes of the neighbour, which are kept as stale. It is called before Start.
// It is the session that comes back then and not the neighbour, so its OPEN need not say that it has kept anything: the routes stay
// until it has announced all again, and at most for maxStale. Without a session they stay for as long as the neighbour was asked
// to keep ours.
func (m *Machine) Keep(now time.Time, families message.Families) {
	m.now = now
	if families = families.Intersect(m.neighbor.Families); families != 0 && m.neighbor.RestartTime > 0 {
		m.stale, m.staleUntil = families, now.Add(m.neighbor.RestartTime)
	}
}

// PathDown says that the way to the neighbour is dead: its tunnel, or BFD. The session ends without waiting for its timers, and
// nothing is kept as stale.
func (m *Machine) PathDown(now time.Time, why error) {
	m.now = now
	m.forget()
	if len(m.conns) > 0 {
		m.abandon(why, notify(message.CodeCease, message.CeaseBFDDown, nil))
		m.settle(loss, why)
	}
}

// PathUp says that there is a way to the neighbour again: the wait for another attempt ends, and so does an attempt whose packets
// went the dead way. Idle goes on, since it was not for the way that it was entered, and a way that comes and goes hastens attempts
// ever less often (RFC 4271 section 8.1.1, DampPeerOscillations).
func (m *Machine) PathUp(now time.Time) {
	m.now = now
	if !m.started || m.neighbor.Passive || m.state != Active && m.state != Connect {
		return
	}
	since := now.Sub(m.hastened)
	if since > 2*m.neighbor.Timers.ConnectRetry {
		m.retryWait, m.hasteWait = 0, 0
	}
	if since >= m.hasteWait {
		m.hasten(now)
		m.waiting = time.Time{}
		m.abandon(errNewPath, nil)
		m.dial()
	} else if next := m.hastened.Add(m.hasteWait); m.waiting.After(next) {
		m.hasten(next)
		m.waiting = next
	}
}

// hasten notes when a wait is ended before its time.
func (m *Machine) hasten(at time.Time) {
	t := &m.neighbor.Timers
	m.hastened, m.hasteWait = at, min(max(2*m.hasteWait, t.Retry), t.ConnectRetry)
}

// Accept offers a connection that the neighbour opened. The id is 0 where it is to be closed at once.
func (m *Machine) Accept(now time.Time) ConnID {
	m.now = now
	if m.state == Idle {
		return 0 // RFC 4271 section 8.2.2: Idle refuses all
	}
	for _, c := range slices.Clone(m.conns) {
		if !c.dialled && c.state < Established {
			m.drop(c, errReplaced, nil) // the neighbour would not dial again if it still had this one
		}
	}
	c := m.connection(false)
	c.rival = m.state == Established
	m.open(c)
	return c.id
}

// Dialed says that a connection that was asked for is there.
func (m *Machine) Dialed(now time.Time, id ConnID) { m.deliver(now, id, event{kind: connected}) }

// Failed says that an attempt to connect failed, or that a connection ended.
func (m *Machine) Failed(now time.Time, id ConnID, err error) {
	m.deliver(now, id, event{kind: failed, err: err})
}

// Receive takes one whole message, which is not kept.
func (m *Machine) Receive(now time.Time, id ConnID, msg []byte) {
	if c := m.find(id); c != nil {
		m.now = now
		m.Heard(now, id)
		m.deliver(now, id, m.parse(c, msg))
	}
}

// Heard says that octets of the neighbour arrived, perhaps not yet a whole message: it is alive (RFC 4271 section 8.2.2 asks
// for whole KEEPALIVE or UPDATE messages; a full table over a slow path is worth the difference). Here and in Wrote now may be
// a moment that has passed.
func (m *Machine) Heard(now time.Time, id ConnID) {
	if c := m.find(id); c != nil && c.state >= OpenConfirm && c.deal.Hold > 0 {
		c.hold = latest(c.hold, now.Add(c.deal.Hold))
	}
}

// Wrote says that the neighbour's TCP accepted octets of ours, or that there were none to send (RFC 9687).
func (m *Machine) Wrote(now time.Time, id ConnID) {
	if c := m.find(id); c != nil && c.state >= OpenConfirm && c.deal.SendHold > 0 {
		c.sendHold = latest(c.sendHold, now.Add(c.deal.SendHold))
	}
}

// Holding says how many prefixes of a family the neighbour has announced and not withdrawn, for the limits.
func (m *Machine) Holding(now time.Time, f message.Family, n int) {
	m.now = now
	limit, c := m.neighbor.Limits[f], m.session()
	switch {
	case c == nil:
	case limit.Max > 0 && n > limit.Max:
		m.deliver(now, c.id, event{kind: malformed, notify: tooMany(f, limit.Max),
			err: fmt.Errorf("%d prefixes of %v announced, the limit is %d", n, f, limit.Max)})
	case limit.Warn > 0 && n > limit.Warn && !m.warned.Has(f):
		m.warned |= message.FamiliesOf(f)
		m.do(Warning{fmt.Errorf("%d prefixes of %v announced, more than %d", n, f, limit.Warn)})
	}
}

// Refresh asks the neighbour to announce a family again (RFC 2918).
func (m *Machine) Refresh(now time.Time, f message.Family) error {
	m.now = now
	c := m.session()
	switch {
	case c == nil:
		return errNoSession
	case !c.deal.Refresh || !c.deal.Families.Has(f):
		return fmt.Errorf("the neighbor does not offer route refresh of %v", f)
	}
	m.send(c, message.AppendRouteRefresh(nil, f))
	return nil
}

// Tick says what time it is. It is called when Deadline has come; earlier does no harm.
func (m *Machine) Tick(now time.Time) {
	m.now = now
	if m.started && due(m.waiting, now) {
		m.waiting = time.Time{}
		m.idleOrActive(event{kind: retry})
	}
	for _, c := range slices.Clone(m.conns) {
		if due(c.alive, now) {
			m.deliver(now, c.id, event{kind: keepaliveDue})
		}
		if due(c.hold, now) {
			m.deliver(now, c.id, event{kind: holdExpired})
		}
		if due(c.sendHold, now) {
			m.deliver(now, c.id, event{kind: sendHoldExpired})
		}
	}
	if due(m.staleUntil, now) {
		m.forget()
	}
}

// Deadline is when Tick has something to do, the zero time for never.
func (m *Machine) Deadline() time.Time {
	d := m.staleUntil
	if m.started {
		d = deadline.Earliest(d, m.waiting)
	}
	for _, c := range m.conns {
		d = deadline.Earliest(d, c.hold, c.alive, c.sendHold)
	}
	return d
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// deliver hands an event to the state of its connection. Events of connections that are gone are old news.
func (m *Machine) deliver(now time.Time, id ConnID, e event) {
	c := m.find(id)
	if c == nil {
		return
	}
	m.now = now
	switch c.state {
	case Connect:
		m.connect(c, e)
	case OpenSent:
		m.openSent(c, e)
	case OpenConfirm:
		m.openConfirm(c, e)
	case Established:
		m.established(c, e)
	}
}

func (m *Machine) idleOrActive(e event) {
	switch m.state {
	case Idle:
		m.idle(e)
	case Active:
		m.active(e)
	}
}

func (m *Machine) find(id ConnID) *conn {
	for _, c := range m.conns {
		if c.id == id {
			return c
		}
	}
	return nil
}

// session is the connection that is Established, nil without one.
func (m *Machine) session() *conn {
	for _, c := range m.conns {
		if c.state == Established {
			return c
		}
	}
	return nil
}

// connection makes a connection, in Connect.
func (m *Machine) connection(dialled bool) *conn {
	m.last++
	c := &conn{id: m.last, dialled: dialled, state: Connect}
	m.conns = append(m.conns, c)
	return c
}

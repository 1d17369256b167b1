package bgp

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// The events of RFC 4271 section 8.1 that a state gets.
type event struct {
	kind   eventKind
	err    error
	notify *message.NotificationError // malformed: what to send; notification: what was received
	open   *message.OpenMessage
	family message.Family
}

type eventKind uint8

const (
	start           eventKind = iota // ManualStart, AutomaticStart
	retry                            // ConnectRetryTimer_Expires in Active, IdleHoldTimer_Expires in Idle
	connected                        // Tcp_CR_Acked
	failed                           // TcpConnectionFails
	holdExpired                      // HoldTimer_Expires; in Connect the end of the attempt
	keepaliveDue                     // KeepaliveTimer_Expires
	sendHoldExpired                  // SendHoldTimer_Expires (RFC 9687)
	openMsg                          // BGPOpen
	keepaliveMsg                     // KeepAliveMsg
	updateMsg                        // UpdateMsg: the machine's update
	refreshMsg                       // RFC 2918
	notification                     // NotifMsg, NotifMsgVerErr
	malformed                        // BGPHeaderErr, BGPOpenMsgErr, UpdateMsgErr, and limits that were passed
)

// Reasons for the end of a session or of a connection.
var (
	ErrStopped     = errors.New("stopped here")
	ErrHoldTimer   = errors.New("hold timer expired: nothing came from the neighbor")
	ErrSendHold    = errors.New("send hold timer expired: the neighbor accepts nothing")
	ErrConnectTime = errors.New("no connection in time")
	ErrCollision   = errors.New("another connection with the neighbor is kept")
	errReplaced    = errors.New("the neighbor connected again")
	errNewPath     = errors.New("there is a way to the neighbor again")
)

// idle refuses connections until it is started, or until the time after an error is over (RFC 4271 section 8.2.2, Idle state).
func (m *Machine) idle(e event) {
	switch e.kind {
	case start, retry:
		m.become(nil, Active, nil)
		if !m.neighbor.Passive {
			m.dial()
		}
	}
}

// active waits for the neighbour to connect, or for the time to dial (RFC 4271 section 8.2.2, Active state).
func (m *Machine) active(e event) {
	if e.kind == retry {
		m.dial()
	}
}

// connect waits for a connection that was dialled (RFC 4271 section 8.2.2, Connect state).
func (m *Machine) connect(c *conn, e event) {
	switch e.kind {
	case connected:
		if m.state >= OpenConfirm {
			m.drop(c, ErrCollision, nil) // the other one is further, and the neighbour has not seen an OPEN on this one
			return
		}
		m.open(c)
	case failed:
		m.lose(c, fmt.Errorf("connecting: %w", e.err))
	case holdExpired:
		m.lose(c, ErrConnectTime)
	}
}

// openSent waits for the neighbour's OPEN (RFC 4271 section 8.2.2, OpenSent state).
func (m *Machine) openSent(c *conn, e event) {
	switch e.kind {
	case openMsg:
		deal, err := m.negotiate(e.open)
		if err != nil {
			m.fail(c, err.err, err.notify)
			return
		}
		c.deal = deal
		if !m.resolveCollision(c) {
			return
		}
		m.send(c, message.AppendKeepalive(nil))
		if deal.Hold > 0 {
			c.hold, c.alive, c.sendHold = m.now.Add(deal.Hold), m.now.Add(deal.Keepalive), m.now.Add(deal.SendHold)
		} else {
			// Without a hold time the last step is bounded like the one before.
			c.hold = m.now.Add(m.neighbor.Timers.InitialHold)
		}
		m.become(c, OpenConfirm, nil)
	case keepaliveMsg, updateMsg, refreshMsg:
		m.unexpected(c, e, message.FSMUnexpectedInOpenSent)
	default:
		m.any(c, e)
	}
}

// openConfirm waits for the KEEPALIVE that says that our OPEN was good (RFC 4271 section 8.2.2, OpenConfirm state).
func (m *Machine) openConfirm(c *conn, e event) {
	switch e.kind {
	case keepaliveMsg:
		m.establish(c)
	case openMsg, updateMsg, refreshMsg:
		m.unexpected(c, e, message.FSMUnexpectedInOpenConfirm)
	default:
		m.any(c, e)
	}
}

// established exchanges routes (RFC 4271 section 8.2.2, Established state).
func (m *Machine) established(c *conn, e event) {
	switch e.kind {
	case keepaliveMsg:
	case updateMsg:
		if f := m.update.EndOfRIB; f != 0 {
			m.endOfRIB(f)
			return
		}
		m.do(Learned{&m.update})
	case refreshMsg:
		if c.deal.Families.Has(e.family) {
			m.do(Refresh{e.family})
		}
	case openMsg:
		m.unexpected(c, e, message.FSMUnexpectedInEstablished)
	default:
		m.any(c, e)
	}
}

// any is what the three states with a connection have in common.
func (m *Machine) any(c *conn, e event) {
	switch e.kind {
	case keepaliveDue:
		m.send(c, message.AppendKeepalive(nil))
		c.alive = m.now.Add(c.deal.Keepalive)
	case holdExpired:
		m.end(c, ErrHoldTimer, notify(message.CodeHoldTimerExpired, 0, nil), loss)
	case sendHoldExpired:
		m.end(c, ErrSendHold, notify(message.CodeSendHoldTimerExpired, 0, nil), loss)
	case failed:
		m.lose(c, fmt.Errorf("connection lost: %w", e.err))
	case malformed:
		m.fail(c, e.err, e.notify)
	case notification:
		m.end(c, &PeerError{e.notify}, nil, gravity(e.notify))
	}
}

func (m *Machine) unexpected(c *conn, e event, subcode uint8) {
	m.fail(c, fmt.Errorf("unexpected %s in %v", messageName(e.kind), c.state), notify(message.CodeFSM, subcode, nil))
}

// establish makes the connection the session; there is no other after it.
func (m *Machine) establish(c *conn) {
	for _, other := range slices.Clone(m.conns) {
		if other != c {
			m.drop(other, ErrCollision, collision())
		}
	}
	if c.deal.Hold == 0 {
		c.hold = time.Time{}
	}
	ours := m.resuming
	c.since, c.rival = m.now, false
	m.retryWait, m.waiting, m.warned, m.resuming = 0, time.Time{}, 0, false
	m.become(c, Established, nil)
	m.do(Up{c.id, c.deal})
	m.resumed(c.deal, ours)
}

// become is the one place that changes a state: that of a connection, or with nil what is left without any. The state of
// the whole is that of the connection that has come furthest.
func (m *Machine) become(c *conn, s State, why error) {
	whole := s
	if c != nil {
		c.state = s
		whole = Active
	}
	for _, each := range m.conns {
		if each.state == Connect && whole == Active || each.state > Active && each.state > whole {
			whole = each.state
		}
	}
	if whole != m.state {
		from := m.state
		m.state = whole
		m.do(StateChange{from, whole, why})
	}
}

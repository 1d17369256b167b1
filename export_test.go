package warren

import (
	"context"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike"
)

// LoseChildSAs has the data plane lose all child SAs, of which the machine does not hear.
func (e *Engine) LoseChildSAs(ctx context.Context) error {
	s, err := e.running(ctx)
	if err != nil {
		return err
	}
	return s.keying.call(ctx, func(time.Time) ([]ike.Action, error) {
		for in, live := range s.keying.children {
			live.tunnel.ipsec.RemoveChild(live.child)
			delete(s.keying.children, in)
		}
		return nil, nil
	})
}

//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// authenticatesAnew: the initiator, which would never do so by itself, obeys what the responder tells (RFC 4478), and the tunnel is up
// all the time but for what charon takes to break before it makes.
func authenticatesAnew(ctx context.Context, p *keyedPair) error {
	if err := p.initiate(ctx, p.a); err != nil {
		return err
	}
	err := within(ctx, "authenticated three times", time.Minute, func(ctx context.Context) error {
		return lab.WaitFor(ctx, "it", func() error {
			if a, b := p.a.established(), p.b.established(); min(a, b) < 3 {
				return fmt.Errorf("authenticated %d and %d times", a, b)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, p.logs())
	}
	if log := p.a.log() + p.b.log(); strings.Contains(log, "not repeated in time") {
		return errors.New("an IKE SA ended for want of it\n" + p.logs())
	}
	return p.reach(ctx, p.a)
}

// TestAuthLifetime: who initiated authenticates anew in the time that the responder tells.
func TestAuthLifetime(t *testing.T) {
	tells := settings{ipsec: "reauth_time: 3s\nrekey_time: 0s", conn: "reauth_time = 3s\nrekey_time = 0s\nover_time = 30s\nrand_time = 0s"}
	obeys := settings{ipsec: "rekey_time: 4h", conn: "reauth_time = 0s\nrekey_time = 4h\nover_time = 1s\nrand_time = 0s"}
	together(t, []run{
		{name: "told how long authentication lasts", kinds: charonWe, a: obeys, b: tells, do: authenticatesAnew},
		{name: "told how long authentication lasts", kinds: weWe, a: obeys, b: tells, do: authenticatesAnew},
	})
}

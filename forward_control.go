package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ErrForwardEnded says that the engine has ended a forward because it stops.
var ErrForwardEnded = errors.New("the engine has ended the forward")

// controlForward forwards for as long as the client holds the request open. It answers with a ForwardStatus at once, and the
// answer's end is that of the forward.
func (e *Engine) controlForward(w http.ResponseWriter, r *http.Request) {
	cfg, err := forwardOf(r.URL.Query())
	if err == nil {
		var f *Forward
		if f, err = e.Forward(r.Context(), cfg); err == nil {
			defer f.Close()
			writeJSON(w, http.StatusOK, f.Status())
			if http.NewResponseController(w).Flush() != nil {
				return // the client has gone
			}
			select {
			case <-r.Context().Done():
			case <-f.Done():
			}
			return
		}
	}
	writeJSON(w, http.StatusBadRequest, controlError{asked(err)})
}

// asked says what is wrong with what somebody asked for, which is no configuration.
func asked(err error) string {
	var mistakes ConfigErrors
	if !errors.As(err, &mistakes) {
		return err.Error()
	}
	var lines []string
	for _, m := range mistakes {
		lines = append(lines, m.Error())
	}
	return strings.Join(lines, "\n")
}

// query writes a forward as the parameters of a request, forwardOf reads them.
func (f *ForwardConfig) query() url.Values {
	q := url.Values{"listen": {f.Listen.String()}, "to": {f.To}}
	if f.Protocol != "" {
		q.Set("protocol", f.Protocol)
	}
	if f.VRF != "" {
		q.Set("vrf", f.VRF)
	}
	if f.MaxConnections != 0 {
		q.Set("max_connections", strconv.Itoa(f.MaxConnections))
	}
	if f.IdleTimeout != 0 {
		q.Set("idle_timeout", f.IdleTimeout.String())
	}
	return q
}

func forwardOf(q url.Values) (f ForwardConfig, err error) {
	f = ForwardConfig{To: q.Get("to"), Protocol: q.Get("protocol"), VRF: q.Get("vrf")}
	if f.Listen, err = netip.ParseAddrPort(q.Get("listen")); err != nil {
		return f, fmt.Errorf("listen: %q is no address with a port; want one as 127.0.0.1:8080 or [::1]:8080", q.Get("listen"))
	}
	if s := q.Get("max_connections"); s != "" {
		if f.MaxConnections, err = strconv.Atoi(s); err != nil {
			return f, fmt.Errorf("max_connections: %q is no number", s)
		}
	}
	if s := q.Get("idle_timeout"); s != "" {
		if f.IdleTimeout, err = time.ParseDuration(s); err != nil {
			return f, fmt.Errorf("idle_timeout: %q is no time; want one as 20s or 5m", s)
		}
	}
	return f, nil
}

// Forward asks the engine to forward until ctx ends, which is not an error. It calls ready when the forward listens.
// ErrForwardEnded says that the engine ended it first.
func (c *Client) Forward(ctx context.Context, cfg ForwardConfig, ready func(ForwardStatus)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://warren/v1/forwards?"+cfg.query().Encode(), nil)
	if err != nil {
		return fmt.Errorf("ask engine: %w", err)
	}
	held := http.Client{Transport: c.http.Transport} // without the time that answers may take
	resp, err := c.send(&held, req)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer resp.Body.Close()
	var st ForwardStatus
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("read engine's answer: %w", err)
	}
	ready(st)
	_, _ = io.Copy(io.Discard, resp.Body) // ends with the engine's part, however that ended, or with ctx
	if ctx.Err() != nil {
		return nil
	}
	return ErrForwardEnded
}

package warren

import (
	"context"
	"errors"
	"net/http"
)

// WithReload says what the control socket's reload does: read the configuration again, wherever it came from, and Apply it. It is
// called from several goroutines at once if several clients ask at once.
func WithReload(reload func() error) Option { return func(e *Engine) { e.reload = reload } }

// errNoReload says that nobody knows where the configuration came from.
var errNoReload = errors.New("this engine has no configuration file to read again")

// controlReload reloads.
func (e *Engine) controlReload(w http.ResponseWriter, _ *http.Request) {
	err := errNoReload
	if e.reload != nil {
		err = e.reload()
	}
	if err != nil {
		writeJSON(w, http.StatusBadRequest, controlError{err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// Reload has the engine read its configuration again and apply it, and returns when that is done. An error says what is wrong with
// the configuration, or what needs a restart, and then the engine goes on as before; or what could not be done, and then the rest
// was.
func (c *Client) Reload(ctx context.Context) error {
	patient := http.Client{Transport: c.http.Transport} // it may take longer than a question
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://warren/v1/reload", nil)
	if err != nil {
		return err
	}
	resp, err := c.send(&patient, req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

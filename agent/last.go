package agent

import "github.com/ambit-nhi/ambit/event"

// Last is the last heartbeat that was told, nil before the first one. It must not be changed, and may be asked for at any time.
func (a *Agent) Last() *event.Heartbeat { return a.last.Load() }

// tell hands over a heartbeat.
func (a *Agent) tell(h *event.Heartbeat) {
	a.publish.Heartbeat(h)
	a.last.Store(h)
}

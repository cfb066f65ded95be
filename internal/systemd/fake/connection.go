package fake

// Reconnect is what it means to the user of a connection that it was lost and made anew: how jobs ended before is not known any
// more, and a hint tells that it is back. The units do not notice.
func (m *Manager) Reconnect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.results)
	m.hint()
}

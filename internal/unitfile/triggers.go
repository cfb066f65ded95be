package unitfile

// Triggers returns the unit that a timer, socket or path starts, as systemd.timer(5), systemd.socket(5) and systemd.path(5) say;
// "" for other types. name is the file's own.
func (f *File) Triggers(name Name) string {
	section, option := "", "Unit"
	switch name.Type {
	case "timer":
		section = "Timer"
	case "path":
		section = "Path"
	case "socket":
		section, option = "Socket", "Service"
	default:
		return ""
	}
	if other, ok := f.Value(section, option); ok && other != "" {
		return name.Expand(other)
	}
	return name.WithoutType() + ".service"
}

package mysql

// SettingNames returns the names of settings, and which are made for
// GM_RECIPIENT_QUERY.
func SettingNames() map[string]bool {
	names := map[string]bool{}
	for _, s := range settings {
		names[s.name] = s.scope == all
	}
	return names
}

// Assignment returns the statement that makes a setting.
func Assignment(name string) string {
	for _, s := range settings {
		if s.name == name {
			return s.assignment()
		}
	}
	return ""
}

package feed

import "github.com/ambit-nhi/ambit/event"

// ocsfEntity is a decision as Entity Management: an identity is suspended toward something, and resumed when that ends. A dry run suspends
// nothing: it is an update.
func ocsfEntity(m *making, r *Record) object {
	d := r.Decision
	activity, name := 12, "Suspend"
	switch {
	case r.Life == Close:
		activity, name = 13, "Resume"
	case d.Mode == event.DryRun:
		activity, name = 3, "Update"
	}
	doc := ocsfBase(m, r, classEntity, activity, name, "host", "security_control")
	doc["status_id"], doc["status"] = 1, "Success"
	switch {
	case r.Life == Close:
		doc["action_id"], doc["action"], doc["disposition_id"], doc["disposition"] = 1, "Allowed", 9, "Restored"
	case d.Mode == event.DryRun:
		doc["action_id"], doc["action"], doc["disposition_id"], doc["disposition"] = 3, "Observed", 17, "Logged"
	default:
		doc["action_id"], doc["action"], doc["disposition_id"], doc["disposition"] = 2, "Denied", 24, "Access Revoked"
	}
	doc["entity"] = object{
		"type_id": 2, "type": "User", "uid": clip(d.Identity), "name": clip(d.Identity),
		"user": ocsfUser(d.Identity, nil, r.Owner),
	}
	policy := object{"uid": d.ID, "name": clip(r.title()), "type": "deny", "is_applied": r.Life != Close && d.Mode == event.Enforce}
	policy.set("desc", d.Reason)
	doc["policy"] = policy
	by := d.Requester
	if r.Life == Close && d.RevokedBy != "" {
		by = d.RevokedBy
	}
	if by != "" {
		doc["actor"] = object{"user": object{"name": clip(by)}}
	}
	comment := d.Reason
	if r.Life == Close && d.RevokedWhy != "" {
		comment = d.RevokedWhy
	}
	doc.set("comment", comment)
	doc.set("start_time", millis(d.Issued))
	doc.set("end_time", millis(d.Expires))
	unmapped := object{"decision": d.ID, "to": clip(d.To), "direction": string(d.Direction), "mode": string(d.Mode), "automatic": d.Automatic}
	unmapped.set("code", d.Code)
	unmapped.set("finding", d.Finding)
	unmapped.set("approver", d.Approver)
	doc["unmapped"] = unmapped
	return doc
}

package egress

# The input is the authorization request. This object is the response.
default decision := {"allow": false, "reason": "no rule allows it", "ruleId": "default"}

reads := {"GET", "HEAD", "OPTIONS"}

decision := {"allow": false, "reason": "administration is not allowed", "ruleId": "no-admin"} if {
	startswith(input.path, "/admin")
} else := {"allow": true, "ruleId": "reads", "ttl": 60, "cacheKey": ["method", "path"]} if {
	endswith(input.host, ".example.com")
	reads[input.method]
} else := {"allow": false, "need": "body"} if {
	input.host == "api.example.com"
	input.method == "POST"
	input.bodyWithheld
} else := {"allow": true, "ruleId": "small-orders"} if {
	input.host == "api.example.com"
	input.method == "POST"
	json.unmarshal(input.body).amount < 100
}

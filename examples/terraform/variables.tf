variable "organization_id" {
  description = "The organization at ABEJA whose secrets the mount shows."
  type        = string
}

variable "user_id" {
  description = "The ABEJA user who owns personal_access_token."
  type        = string
}

variable "personal_access_token" {
  description = "That user's token. Set TF_VAR_personal_access_token. Terraform's state will hold it."
  type        = string
  sensitive   = true
}

variable "api_url" {
  description = "The URL of ABEJA's API."
  type        = string
  default     = "https://api.abeja.io"
}

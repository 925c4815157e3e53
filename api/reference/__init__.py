"""The API's description of itself: the OpenAPI document, and pages for people made from it."""

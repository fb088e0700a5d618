"""The emulator's own description as an OpenAPI 3.1 document, its enumerations taken from the contract."""

from __future__ import annotations

import json

from .contract import AUTO, FORMATS, MAX_BATCH_COUNT, MODELS, RATIOS

_DOCUMENT = """\
openapi: 3.1.0
info:
  title: WeShop OpenAPI emulator
  version: "1"
  description: What the emulator offers on the loopback address. It is not the description of the real service.
servers:
  - url: /openapi
security:
  - key: []
paths:
  /agent/assets/images:
    post:
      operationId: upload
      requestBody:
        required: true
        content:
          multipart/form-data:
            schema:
              type: object
              required: [image]
              properties:
                image: {{type: string, format: binary}}
      responses:
        "200": {{$ref: "#/components/responses/Success"}}
        default: {{$ref: "#/components/responses/Error"}}
  /agent/runs:
    post:
      operationId: submit
      parameters:
        - {{name: Idempotency-Key, in: header, schema: {{type: string}}}}
      requestBody: {{$ref: "#/components/requestBodies/Run"}}
      responses:
        "200": {{$ref: "#/components/responses/Success"}}
        default: {{$ref: "#/components/responses/Error"}}
  /agent/runs/{{executionId}}:
    get:
      operationId: poll
      parameters:
        - {{name: executionId, in: path, required: true, schema: {{type: string}}}}
      responses:
        "200": {{$ref: "#/components/responses/Success"}}
        default: {{$ref: "#/components/responses/Error"}}
  /agent/power-estimates:
    post:
      operationId: estimate
      requestBody: {{$ref: "#/components/requestBodies/Run"}}
      responses:
        "200": {{$ref: "#/components/responses/Success"}}
        default: {{$ref: "#/components/responses/Error"}}
  /v1/agent/info:
    get:
      operationId: info
      parameters:
        - {{name: agentName, in: query, required: true, schema: {{type: string}}}}
        - {{name: agentVersion, in: query, required: true, schema: {{type: string}}}}
      responses:
        "200": {{$ref: "#/components/responses/Success"}}
        default: {{$ref: "#/components/responses/Error"}}
components:
  securitySchemes:
    key: {{type: apiKey, in: header, name: Authorization, description: The key as it is}}
  requestBodies:
    Run:
      required: true
      content:
        application/json:
          schema: {{$ref: "#/components/schemas/Run"}}
  responses:
    Success:
      description: Carried out
      content:
        application/json:
          schema:
            type: object
            required: [success, data]
            properties:
              success: {{const: true}}
              data: {{type: object}}
              meta: {{type: object}}
    Error:
      description: Refused
      content:
        application/json:
          schema:
            type: object
            required: [success, error]
            properties:
              success: {{const: false}}
              error:
                type: object
                required: [code, message]
                properties:
                  code: {{type: string}}
                  message: {{type: string}}
                  retryable: {{type: boolean}}
  schemas:
    Run:
      type: object
      additionalProperties: false
      required: [agent, input, params]
      properties:
        agent:
          type: object
          additionalProperties: false
          required: [name, version]
          properties:
            name: {{const: seedream}}
            version: {{const: v1.0}}
        input:
          type: object
          additionalProperties: false
          properties:
            taskName: {{type: string}}
            originalImage: {{type: string, format: uri}}
            images: {{$ref: "#/components/schemas/References"}}
        params:
          type: object
          additionalProperties: false
          required: [textDescription]
          properties:
            modelName: {{enum: {models}}}
            textDescription: {{type: string, minLength: 1}}
            images: {{$ref: "#/components/schemas/References"}}
            imageSize: {{enum: {sizes}}}
            aspectRatio: {{enum: {ratios}}}
            outputFormat: {{enum: {formats}}}
            tools: {{type: array, minItems: 1, items: {{enum: {tools}}}}}
            batchCount: {{type: integer, minimum: 1, maximum: {batch}}}
        callbackUrl: {{type: string, format: uri}}
        safeGenerate: {{enum: ["on", "off"]}}
    References:
      type: array
      minItems: 1
      maxItems: {references}
      items: {{type: string, format: uri}}
"""


def describe() -> str:
    """Return the description as YAML text."""
    models = MODELS.values()
    return _DOCUMENT.format(
        models=json.dumps(list(MODELS)),
        sizes=json.dumps(sorted({size for model in models for size in model.pixel_sizes})),
        ratios=json.dumps([AUTO, *RATIOS]),
        formats=json.dumps(FORMATS),
        tools=json.dumps(sorted({tool for model in models for tool in model.tools})),
        batch=MAX_BATCH_COUNT,
        references=max(model.max_references for model in models),
    )
